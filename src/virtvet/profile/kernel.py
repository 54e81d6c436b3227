"""`host.kernel`: version, command line, modules and their parameters, sysctls, mitigations."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Kernel(Wants):
    """The kernel that runs, and how it was started and set up."""
