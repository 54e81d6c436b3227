"""How much CPU time a guest may use: `guests.NAME.cpu.bandwidth` (libvirt's `<cputune>`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from virtvet.profile.base import Wants
from virtvet.units import UNLIMITED, Microseconds, Quota

LEAST_QUOTA = 1000
"""µs. The kernel takes no smaller quota (min_cfs_quota_period, kernel/sched/core.c)."""
MOST_QUOTA = 17592186044415
"""µs. libvirt's VIR_CGROUP_CPU_QUOTA_MAX (src/util/vircgroup.h), which also means no quota when v2 says "max"."""


def usable_quota(quota: int) -> int:
    """The quota, if the kernel and libvirt take it; the largest number libvirt knows is no quota at all.

    Raises ValueError.
    """
    if quota in (UNLIMITED, MOST_QUOTA):
        return UNLIMITED
    if not LEAST_QUOTA <= quota < MOST_QUOTA:
        raise ValueError(f'a quota of {quota} µs cannot be set: use at least 1ms, or "unlimited"')
    return quota


def usable_period(period: int) -> int:
    """The period, if the kernel and libvirt take it (1000 to 1000000 µs). Raises ValueError."""
    if not 1_000 <= period <= 1_000_000:
        raise ValueError(f"a period of {period} µs cannot be set: use 1ms to 1s")
    return period


CpuQuota = Annotated[Quota, AfterValidator(usable_quota)]
CpuPeriod = Annotated[Microseconds, AfterValidator(usable_period)]
CpuShares = Annotated[int, Field(ge=1, le=262144)]


class Bandwidth(Wants):
    """CPU time in each period. One CPU is a quota as long as the period."""

    period: CpuPeriod | None = None
    """1ms to 1s. libvirt and the kernel take 100ms when none is set."""
    quota: CpuQuota | None = None
    """At least 1ms, or `unlimited`."""


class CpuBandwidth(Bandwidth):
    """`period` and `quota` are for each vCPU by itself, as in `<cputune>`; what is not stated is not checked."""

    model_config = ConfigDict(serialize_by_alias=True)  # entries of several patterns are merged as people write them

    shares: CpuShares | None = None
    """`<shares>`: written as it is to cpu.shares (cgroup v1) or cpu.weight (v2, at most 10000)."""
    emulator: Bandwidth | None = None
    """All emulator threads together (`<emulator_period>`, `<emulator_quota>`)."""
    iothread: Bandwidth | None = None
    """Each iothread by itself (`<iothread_period>`, `<iothread_quota>`)."""
    whole: Bandwidth | None = Field(default=None, alias="global")
    """The whole guest (`<global_period>`, `<global_quota>`), written `global:`."""
