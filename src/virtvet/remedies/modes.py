"""The words of `--fix` and `--fix-risk`, apart from everything heavy: the command line needs them first."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """How far mending goes. `no` is not among them: then nothing here is used at all."""

    PLAN = "plan"
    """Say what would be done; touch nothing."""
    TRY = "try"
    """Mend, verify, undo."""
    KEEP = "keep"
    """Mend, verify, keep what was verified."""


EXERCISE = "exercise"
"""How reports and journals call what was done only to see that it can be done, and taken back."""


class Risk(StrEnum):
    """What a change costs those who use the machine, from least to most."""

    LIVE = "live"
    GUEST_RESTART = "guest-restart"
    DAEMON_RESTART = "daemon-restart"
    REBOOT = "reboot"

    def within(self, allowed: Risk) -> bool:
        """Whether someone who allowed `allowed` allowed this."""
        order = list(Risk)
        return order.index(self) <= order.index(allowed)


NO = "no"
MODES = (NO, *map(str, Mode))
"""`--fix`."""
RISKS = tuple(map(str, Risk))
"""`--fix-risk`."""
