"""The machines and guests asked about answer. Everything else needs this: always checked, reported once."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.inventory import GuestAccess, HostAccess, Ssh
from virtvet.probes import reach
from virtvet.snapshot.sources import Libvirt
from virtvet.target import HostTarget

HOST = Control(
    id="HOST-REACH-1",
    title="The host answers",
    area="reach",
    severity=Severity.CRITICAL,
    requirement="R41",
    rationale="What cannot be looked at cannot be vouched for.",
    hint="{login} true",
)
LIBVIRT = Control(
    id="HOST-REACH-2",
    title="libvirt on the host answers",
    area="reach",
    severity=Severity.CRITICAL,
    requirement="R6",
    rationale="Without libvirt no guest's settings can be read.",
    hint="virsh -c {uri} hostname",
    references=("https://libvirt.org/uri.html",),
)
STATE = Control(
    id="GUEST-STATE-1",
    title="The guest exists and is in the state the profile names",
    area="reach",
    severity=Severity.HIGH,
    requirement="R41",
    rationale="A guest that is gone or shut off honors no setting.",
    hint="virsh -c qemu:///system domstate {guest}   # expected: {expected}",
    references=("https://libvirt.org/manpages/virsh.html#domstate",),
)
GUEST = Control(
    id="GUEST-REACH-1",
    title="The guest can be looked into",
    area="reach",
    severity=Severity.HIGH,
    requirement="R41",
    rationale="What the guest itself sees is a layer of its own; libvirt cannot tell it.",
    hint="{way}   # on {host}; and look at its guests: in the inventory",
)


def _hosts(host: HostTarget) -> Iterable[Case]:
    yield Case("ssh", True, words={"login": _login(host.access.ssh)})


def _libvirts(host: HostTarget) -> Iterable[Case]:
    yield Case("libvirt", True, words={"uri": _uri(host.access)})


def _login(ssh: Ssh | None) -> tuple[str, ...]:
    """ssh(1) as virtvet reaches the host: `ssh -i KEY root@192.0.2.1`."""
    if ssh is None:
        return ()
    stated = {
        "-F": ssh.ssh_config,
        "-p": ssh.port if ssh.port != 22 else "",
        "-i": ssh.key,
        "-J": ssh.jump and str(ssh.jump),
    }
    options = [word for flag, value in stated.items() if value for word in (flag, str(value))]
    known = ["-o", f"UserKnownHostsFile={ssh.known_hosts}"] if ssh.known_hosts else []
    return ("ssh", *options, *known, f"{ssh.user}@{ssh.address}")


def _uri(access: HostAccess) -> str:
    """The connection URI as virsh(1) takes it."""
    if access.libvirt.uri:
        pki = f"?pkipath={access.libvirt.pki}" if access.libvirt.pki else ""
        return access.libvirt.uri + pki
    return f"qemu+{access.ssh}/system" if access.ssh else "qemu:///system"


def _states(host: HostTarget) -> Iterable[Case]:
    for guest in host.guests:
        if guest.wants.state != "any":
            yield Case(guest.name, guest.wants.state, (guest.name, guest.matched), guest=guest.name)


def _inside(host: HostTarget) -> Iterable[Case]:
    for guest in host.guests:
        if guest.inside and guest.matched:
            words = {"way": _way(host.access.guest(guest.name), guest.name)}
            yield Case(guest.name, True, (guest.name,), guest=guest.name, words=words)


def _way(access: GuestAccess | None, guest: str) -> tuple[str, ...]:
    """What shows, on the host, whether the way into a guest is there."""
    virsh = ("virsh", "-c", "qemu:///system")
    if access and access.agent:
        return (*virsh, "qemu-agent-command", guest, '{"execute": "guest-ping"}')
    if access and access.ssh and access.ssh.address not in ("lease", "arp"):
        return ("ping", "-c", "1", access.ssh.address)
    return (*virsh, "domifaddr", guest)


@check(HOST, cases=_hosts, sources=[reach.UPTIME], actual=reach.host_answers, prerequisite="host")
def test_host_answers(case: Case, observed: object) -> None:
    """Every look needs it."""
    assert observed == case.expected


@check(LIBVIRT, cases=_libvirts, sources=[Libvirt()], live=reach.libvirt_answers, prerequisite="libvirt")
def test_libvirt_answers(case: Case, observed: object) -> None:
    """Every guest's check needs it."""
    assert observed == case.expected


@check(STATE, cases=_states, sources=[Libvirt()], live=reach.guest_state, prerequisite="state")
def test_guest_is_in_its_state(case: Case, observed: object) -> None:
    """Layers of a guest that is off do not exist."""
    assert observed == case.expected


@check(GUEST, cases=_inside, guest=reach.guest_answers, prerequisite="guest")
def test_guest_answers(case: Case, observed: object) -> None:
    """Every guest layer needs it."""
    assert observed == case.expected
