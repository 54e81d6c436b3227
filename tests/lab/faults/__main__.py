"""`python -m tests.lab.faults > docs/proofs.md`"""

import sys

from tests.lab.faults.proofs import page

sys.stdout.write(page())
