"""The daemon confines every QEMU (the account, AppArmor or SELinux, and what else qemu.conf says), and is confined."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import accounts, confinement, qemu_conf
from virtvet.target import HostTarget

FILE = "https://gitlab.com/libvirt/libvirt/-/blob/master/src/qemu/qemu.conf.in"
SECURITY = "https://libvirt.org/drvqemu.html#driver-security-architecture"
EDIT = "vi /etc/libvirt/qemu.conf && systemctl restart {{libvirtd,virtqemud}} 2>/dev/null   # {subject}: {expected}"


def _control(id: str, title: str, severity: Severity, rationale: str, hint: str = EDIT) -> Control:
    return Control(id, title, "confinement", severity, "R43", rationale, hint, (SECURITY, FILE))


ACCOUNT = _control(
    "HOST-QEMU-1",
    "libvirt runs every QEMU as the stated user and group",
    Severity.CRITICAL,
    "A guest that breaks out of its QEMU has that account: root's is the whole host.",
)
DRIVER = _control(
    "HOST-QEMU-2",
    "libvirt confines QEMUs by AppArmor or SELinux, and the kernel enforces it, or by neither",
    Severity.HIGH,
    "All QEMUs have one account: only a label of its own keeps one guest from another's disks.",
    "cat /sys/module/apparmor/parameters/enabled /sys/fs/selinux/enforce; virsh capabilities | grep -A1 '<secmodel>'   "
    "# security_driver of /etc/libvirt/qemu.conf: {expected}",
)
SETTINGS = _control(
    "HOST-QEMU-3",
    "qemu.conf confines QEMUs as stated",
    Severity.HIGH,
    "Each takes from a QEMU that was broken into what it does not need: system calls, devices, files of others.",
)
DAEMON = _control(
    "HOST-QEMU-4",
    "AppArmor or SELinux confines libvirt's daemon itself, or neither",
    Severity.HIGH,
    "The daemon is root, listens to the network, and reads what guests write: confined, a hole in it is not the host.",
    "cat /proc/$(cat /run/libvirtd.pid /run/virtqemud.pid 2>/dev/null)/attr/current; aa-status   # {expected}; "
    "AppArmor: aa-enforce /etc/apparmor.d/usr.sbin.libvirtd; SELinux: restorecon /usr/sbin/libvirtd; then restart it",
)


def _accounts(host: HostTarget) -> Iterable[Case]:
    for key in ("user", "group"):
        if (wants := host.wants.confinement) and (stated := getattr(wants, key)) is not None:
            yield Case(key, accounts.Is(stated), (key,))


def _driver(host: HostTarget) -> Iterable[Case]:
    if (wants := host.wants.confinement) and (stated := wants.security_driver):
        config = stated if stated == "none" else OneOf((stated, qemu_conf.PROBED))
        yield Case("security_driver", PerLayer(config=config, live=stated, actual=stated), (stated,))


def _settings(host: HostTarget) -> Iterable[Case]:
    if wants := host.wants.confinement:
        for key, expected in qemu_conf.others(dict(wants)):
            yield Case(key, expected, (key,), unit="bytes" if key == "max_core" else "")


def _daemon(host: HostTarget) -> Iterable[Case]:
    if (wants := host.wants.confinement) and wants.daemon:
        yield Case("daemon", wants.daemon)


@check(
    ACCOUNT,
    cases=_accounts,
    sources=qemu_conf.ACCOUNT_SOURCES,
    config=qemu_conf.account_config,
    live=qemu_conf.account_live,
)
def test_qemus_have_the_account(case: Case, observed: object) -> None:
    """Of the file, and of the daemon that runs: it reads the file when it starts."""
    assert observed == case.expected


@check(
    DRIVER,
    cases=_driver,
    sources=qemu_conf.DRIVER_SOURCES,
    config=qemu_conf.driver_config,
    live=qemu_conf.driver_live,
    actual=qemu_conf.driver_actual,
)
def test_qemus_are_labelled(case: Case, observed: object) -> None:
    """File, daemon, kernel."""
    assert observed == case.expected


@check(SETTINGS, cases=_settings, sources=(qemu_conf.FILE,), config=qemu_conf.setting)
def test_qemus_are_confined(case: Case, observed: object) -> None:
    """Key by key; what each QEMU then has is asked of the guests."""
    assert observed == case.expected


@check(DAEMON, cases=_daemon, sources=confinement.DAEMON_SOURCES, actual=confinement.daemon_label)
def test_the_daemon_is_confined(case: Case, observed: object) -> None:
    """As it runs; started before its profile was loaded, it is unconfined."""
    assert observed == case.expected
