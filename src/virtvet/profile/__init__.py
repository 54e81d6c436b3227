"""What is wanted: the model of a profile, and how one is loaded from YAML."""

from virtvet.profile.model import GuestWants, HostWants, Profile

__all__ = ["GuestWants", "HostWants", "Profile"]
