"""Each QEMU is held as stated: account, capabilities, system calls, namespace, label, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from virtvet.check import Case, Control, Severity, check
from virtvet.expect import Unit
from virtvet.probes import accounts, confinement, memory_backing
from virtvet.target import HostTarget

SECURITY = "https://libvirt.org/drvqemu.html#driver-security-architecture"
STATUS = "https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"
SECLABEL = "https://libvirt.org/formatdomain.html#security-label"
SECCOMP = "https://docs.kernel.org/userspace-api/seccomp_filter.html"
SHOW = "grep -E '{lines}' /proc/$(cat /run/libvirt/qemu/{guest}.pid)/task/*/status   # "
AGAIN = "{guest} is held so from its next start"


def _control(id: str, title: str, severity: Severity, rationale: str, hint: str, *references: str) -> Control:
    return Control(id, title, "confinement", severity, "R43", rationale, hint, (SECURITY, *references))


USER = _control(
    "QEMU-USER-1",
    "QEMU runs as the stated user",
    Severity.CRITICAL,
    "A guest that breaks out of its QEMU is that user: as root it has the host.",
    f"{SHOW}user of /etc/libvirt/qemu.conf, and <seclabel model='dac'> of virsh edit {{guest}}; {AGAIN}",
    *(STATUS, SECLABEL),
)
GROUP = _control(
    "QEMU-USER-2",
    "QEMU runs as the stated group",
    Severity.HIGH,
    "What the group may read and write, a guest that breaks out may.",
    f"{SHOW}group of /etc/libvirt/qemu.conf, and <seclabel model='dac'> of virsh edit {{guest}}; {AGAIN}",
    *(STATUS, SECLABEL),
)
GROUPS = _control(
    "QEMU-USER-3",
    "QEMU is in the stated groups, and in no others",
    Severity.HIGH,
    "A group such as disk opens every guest's disks.",
    f"{SHOW}gpasswd -d USER GROUP; {AGAIN}",
    STATUS,
)
CAPABILITIES = _control(
    "QEMU-CAP-1",
    "QEMU has the stated capabilities, and no others",
    Severity.CRITICAL,
    "libvirt takes them from every account but root's; any of them opens a way out.",
    f"{SHOW}user of /etc/libvirt/qemu.conf; {AGAIN}",
    *(STATUS, "https://man7.org/linux/man-pages/man7/capabilities.7.html"),
)
FILTER = _control(
    "QEMU-SANDBOX-1",
    "QEMU's system calls are filtered, or not",
    Severity.HIGH,
    "The filter keeps a QEMU that was broken into from starting programs and from most of the kernel.",
    f"{SHOW}seccomp_sandbox = 1 in /etc/libvirt/qemu.conf; {AGAIN}",
    *(STATUS, SECCOMP),
)
PRIVILEGES = _control(
    "QEMU-SANDBOX-2",
    "QEMU can gain no privileges, or can",
    Severity.HIGH,
    "Without it a program that is setuid root gives them.",
    f"{SHOW}seccomp_sandbox = 1 in /etc/libvirt/qemu.conf; {AGAIN}",
    *(STATUS, "https://docs.kernel.org/userspace-api/no_new_privs.html"),
)
NAMESPACE = _control(
    "QEMU-SANDBOX-3",
    "QEMU has a mount namespace of its own, or not",
    Severity.MEDIUM,
    "With its own /dev it sees the devices of its guest and no others.",
    'lsns -t mnt; vi /etc/libvirt/qemu.conf   # namespaces = [ "mount" ]; ' + AGAIN,
    "https://man7.org/linux/man-pages/man7/mount_namespaces.7.html",
)
LABEL = _control(
    "QEMU-LABEL-1",
    "QEMU is confined by AppArmor or SELinux, with the label that libvirt gave it, or by neither",
    Severity.HIGH,
    "All QEMUs have one account: only its own label keeps one guest from another's disks.",
    "cat /proc/$(cat /run/libvirt/qemu/{guest}.pid)/attr/current; virsh dumpxml {guest} | grep -A2 '<seclabel'   "
    "# {expected}: security_driver of /etc/libvirt/qemu.conf; aa-enforce, or setenforce 1",
    *(SECLABEL, "https://docs.kernel.org/admin-guide/LSM/index.html"),
)
MEMLOCK = _control(
    "QEMU-LIMIT-1",
    "QEMU may lock as much memory as stated",
    Severity.MEDIUM,
    "With less a device cannot be plugged in (VFIO pins all memory); with more a guest takes the host's memory.",
    "prlimit --memlock --pid $(cat /run/libvirt/qemu/{guest}.pid)   # libvirt's own comes back with the next start",
    *("https://libvirt.org/formatdomain.html#memory-tuning", "https://docs.kernel.org/driver-api/vfio.html"),
)
CORE = _control(
    "QEMU-LIMIT-2",
    "QEMU's core dumps are as large as stated",
    Severity.MEDIUM,
    "A core dump can hold the guest's memory, keys included, on the host's disk.",
    "prlimit --core={expected} --pid $(cat /run/libvirt/qemu/{guest}.pid)   # and max_core of /etc/libvirt/qemu.conf",
    *("https://libvirt.org/kbase/qemu-core-dump.html", "https://man7.org/linux/man-pages/man5/core.5.html"),
)


def _stated(
    key: str,
    expected: Callable[[Any], object] = lambda wanted: wanted,
    args: Callable[[Any], tuple[object, ...]] = lambda _wanted: (),
    lines: str = "",
    unit: Unit = "",
) -> Callable[[HostTarget], Iterable[Case]]:
    """One case for each guest that states `key`."""

    def cases(host: HostTarget) -> Iterable[Case]:
        for guest in host.guests:
            wants = guest.wants.confinement
            if guest.matched and wants and (wanted := getattr(wants, key)) is not None:
                asked = (guest.name, *args(wanted))
                yield Case(guest.name, expected(wanted), asked, guest.name, {"lines": lines}, unit)

    return cases


def _capabilities(wanted: str | list[str]) -> frozenset[str]:
    return frozenset() if wanted == "none" else frozenset(wanted)


def _memlock(wanted: int | str) -> object:
    return confinement.BY_FORMULA if wanted == "formula" else wanted


@check(
    USER,
    cases=_stated("user", accounts.Is, lambda _wanted: ("user",), lines="^(Uid|Gid|Groups):"),
    sources=confinement.ACCOUNT_SOURCES,
    config=confinement.account_config,
    live=confinement.account_live,
    actual=confinement.account_actual,
)
def test_qemu_has_its_user(case: Case, observed: object) -> None:
    """All four ids of every thread."""
    assert observed == case.expected


@check(
    GROUP,
    cases=_stated("group", accounts.Is, lambda _wanted: ("group",), lines="^(Uid|Gid|Groups):"),
    sources=confinement.ACCOUNT_SOURCES,
    config=confinement.account_config,
    live=confinement.account_live,
    actual=confinement.account_actual,
)
def test_qemu_has_its_group(case: Case, observed: object) -> None:
    """All four ids of every thread."""
    assert observed == case.expected


@check(
    GROUPS,
    cases=_stated("groups", lambda wanted: accounts.Are(frozenset(wanted)), lines="^(Uid|Gid|Groups):"),
    sources=(*confinement.STATUS_SOURCES, *accounts.SOURCES),
    actual=confinement.groups,
)
def test_qemu_is_in_its_groups(case: Case, observed: object) -> None:
    """Of every thread."""
    assert observed == case.expected


@check(
    CAPABILITIES,
    cases=_stated("capabilities", _capabilities, lines="^Cap"),
    sources=confinement.STATUS_SOURCES,
    actual=confinement.capabilities,
)
def test_qemu_has_its_capabilities(case: Case, observed: object) -> None:
    """Set by set, of every thread."""
    assert observed == case.expected


@check(
    FILTER,
    cases=_stated("seccomp", lines="^Seccomp:"),
    sources=confinement.STATUS_SOURCES,
    actual=confinement.seccomp,
)
def test_system_calls_are_filtered(case: Case, observed: object) -> None:
    """Of every thread."""
    assert observed == case.expected


@check(
    PRIVILEGES,
    cases=_stated("no_new_privs", lines="^NoNewPrivs:"),
    sources=confinement.STATUS_SOURCES,
    actual=confinement.no_new_privs,
)
def test_no_privileges_can_be_gained(case: Case, observed: object) -> None:
    """By any thread."""
    assert observed == case.expected


@check(
    NAMESPACE,
    cases=_stated("mount_namespace"),
    sources=(*confinement.STATUS_SOURCES, confinement.NAMESPACES),
    actual=confinement.mount_namespace,
)
def test_qemu_has_its_namespace(case: Case, observed: object) -> None:
    """Neither init's nor the asking shell's."""
    assert observed == case.expected


@check(
    LABEL,
    cases=_stated("security"),
    sources=confinement.LABEL_SOURCES,
    config=confinement.label_config,
    live=confinement.label_live,
    actual=confinement.label_actual,
)
def test_qemu_has_its_label(case: Case, observed: object) -> None:
    """Stored, given, enforced."""
    assert observed == case.expected


@check(
    MEMLOCK,
    cases=_stated("memlock", _memlock, lambda wanted: (wanted,), unit="bytes"),
    sources=confinement.LIMIT_SOURCES,
    actual=confinement.memlock,
)
def test_qemu_may_lock_memory(case: Case, observed: object) -> None:
    """The soft limit, which counts."""
    assert observed == case.expected


@check(
    CORE,
    cases=_stated("core", unit="bytes"),
    sources=(*confinement.STATUS_SOURCES, memory_backing.LIMITS),
    actual=confinement.core,
)
def test_cores_are_as_large_as_stated(case: Case, observed: object) -> None:
    """The soft limit, which counts."""
    assert observed == case.expected
