"""What the tests of both labs share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Whether to take the time."""
    parser.addoption("--alone", action="store_true", help="break one thing at a time in the labs")
