"""`host.isolation`: CPUs that nothing but guests may use."""

from __future__ import annotations

from virtvet.profile.base import Wants


class Isolation(Wants):
    """CPUs kept for guests: isolcpus, nohz_full, rcu_nocbs, interrupts."""
