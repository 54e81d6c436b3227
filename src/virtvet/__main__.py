"""`python -m virtvet` is `virtvet`."""

from virtvet.cli import main

main()
