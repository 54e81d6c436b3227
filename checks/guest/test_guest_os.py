"""Which operating system a guest runs, and whether it can do with memory what the profile wants."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import guest_os
from virtvet.target import HostTarget

OSINFO = "https://libosinfo.org"
SET = (
    "virsh -c qemu:///system metadata {guest} http://libosinfo.org/xmlns/libvirt/domain/1.0 --key libosinfo "
    "--live --config --set '<libosinfo><os id=\"{id}\"/></libosinfo>'"
)
SYSTEM = Control(
    id="GUEST-OS-1",
    title="A guest runs the operating system that its domain names",
    area="guest-os",
    severity=Severity.LOW,
    requirement="R24",
    rationale="Tools choose devices, drivers and what they dare to plug by this name; nothing keeps it true after an "
    "upgrade of the guest.",
    hint=SET,
    references=(OSINFO, "https://www.freedesktop.org/software/systemd/man/latest/os-release.html"),
)
PLUGS = Control(
    id="GUEST-OS-2",
    title="A guest whose memory is to come or go runs a system that can do that",
    area="guest-os",
    severity=Severity.HIGH,
    requirement="R24",
    rationale="A Windows that cannot ignores what is plugged, until its next start; none gives memory back.",
    hint="virsh -c qemu:///system dominfo {guest}   # plan its memory for a start, or state the system it really runs",
    references=(
        OSINFO,
        "https://learn.microsoft.com/en-us/previous-versions/windows/hardware/design/dn613970(v=vs.85)",
        "https://learn.microsoft.com/en-us/previous-versions/windows/hardware/design/dn613896(v=vs.85)",
    ),
)


def named(host: HostTarget) -> Iterable[Case]:
    """Every guest whose system is stated."""
    for guest in host.guests:
        wanted = guest.wants.os.named if guest.wants.os else None
        if guest.matched and wanted:
            yield Case(guest.name, wanted, (guest.name, wanted), guest.name, {"id": wanted})


def growing(host: HostTarget) -> Iterable[Case]:
    """Every guest whose memory is to come or go while it runs; its edition only the profile knows."""
    for guest in host.guests:
        hotplug = guest.wants.memory.hotplug
        if guest.matched and hotplug and hotplug.is_wanted:
            edition = guest.wants.os.edition if guest.wants.os else None
            yield Case(guest.name, guest_os.PLUGS, (guest.name, edition, bool(hotplug.unplug)), guest.name)


@check(
    SYSTEM,
    cases=named,
    sources=guest_os.SOURCES,
    guest_sources=guest_os.guest_sources,
    config=guest_os.config,
    live=guest_os.live,
    guest=guest_os.inside,
)
def test_guest_runs_its_system(case: Case, observed: object) -> None:
    """Inside: name and version of os-release."""
    assert observed == case.expected


@check(
    PLUGS,
    cases=growing,
    sources=guest_os.SOURCES,
    config=guest_os.config_plugs,
    live=guest_os.live_plugs,
)
def test_guest_takes_memory_while_it_runs(case: Case, observed: object) -> None:
    """By the name in its metadata; skipped without one."""
    assert observed == case.expected
