"""The right kernel runs, and starts at the next boot."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import kernel_release
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget
from virtvet.versions import parse_constraint

RELEASE = Control(
    id="HOST-KERNEL-1",
    title="The kernel has the right version",
    area="kernel",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="A package that is installed protects nobody until its kernel runs; one that is set as the default may "
    "be older than the one that runs.",
    hint="uname -r; ls /boot/vmlinuz-*; grep -E '^(set default|.linux)' /boot/grub/grub.cfg   # wanted: {expected}",
    references=("https://docs.kernel.org/process/stable-kernel-rules.html",),
)
NEWEST = Control(
    id="HOST-KERNEL-2",
    title="The newest kernel that is installed runs",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Since the last update of the kernel nobody has rebooted: its fixes are on the disk only.",
    hint="uname -r; ls /boot/vmlinuz-*   # move the guests away, then: reboot",
    references=("https://manpages.debian.org/needrestart.1",),
)


def release(host: HostTarget) -> Iterable[Case]:
    """The host, where stated."""
    if host.wants.kernel and host.wants.kernel.version:
        yield Case("kernel", parse_constraint(host.wants.kernel.version))


def newest(host: HostTarget) -> Iterable[Case]:
    """The host, where stated."""
    if host.wants.kernel and host.wants.kernel.newest:
        yield Case("kernel", kernel_release.NEWEST)


def _sources(host: HostTarget) -> Iterable[Source]:
    return (source for _case in release(host) for source in kernel_release.SOURCES)


def _newest_sources(host: HostTarget) -> Iterable[Source]:
    return (source for _case in newest(host) for source in kernel_release.NEWEST_SOURCES)


@check(RELEASE, cases=release, sources=_sources, config=kernel_release.config, actual=kernel_release.actual)
def test_kernel_has_the_right_version(case: Case, observed: object) -> None:
    """The boot loader's default entry, and uname -r."""
    assert observed == case.expected


@check(
    NEWEST,
    cases=newest,
    sources=_newest_sources,
    config=kernel_release.newest_starts,
    actual=kernel_release.newest_runs,
)
def test_newest_kernel_runs(case: Case, observed: object) -> None:
    """Of those in /boot."""
    assert observed == case.expected
