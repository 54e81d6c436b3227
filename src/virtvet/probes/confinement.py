"""What holds a guest's QEMU: its account, capabilities, system call filter, namespace, label and limits; what holds
libvirt itself: its label.

The kernel says it of every thread in /proc/PID/task/TID/status (proc_pid_status(5)); one that escaped is enough.
libvirt's side: virSetUIDGIDWithCaps (src/util/virutil.c), src/security/, qemuDomainGetMemLockLimitBytes
(src/qemu/qemu_domain.c).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.probes import accounts, daemon_start, domain_xml, memory_backing, qemu_conf, threads
from virtvet.probes.accounts import GROUP, PASSWD, Account
from virtvet.snapshot.model import Absent, Files, Snapshot, Unreadable, text_of
from virtvet.snapshot.sources import Command, Processes, Source

_ATTRIBUTES = ("attr/current", "attr/apparmor/current")
"""The second since Linux 5.1, where others than AppArmor may write the first."""
LABELS = Processes("qemu-*", _ATTRIBUTES)
DAEMONS = ("libvirtd", "virtqemud")
DAEMON_LIMITS = {name: Processes(name, ("limits",)) for name in DAEMONS}
DAEMON_LABELS = {name: Processes(name, _ATTRIBUTES) for name in DAEMONS}
NAMESPACES = Command(
    (
        "sh",
        "-c",
        "set -- /proc/1/ns/mnt /proc/self/ns/mnt; for d in /proc/[0-9]*; do c=; { read -r c <$d/comm; } 2>/dev/null; "
        'case $c in qemu-system-*|qemu-kvm) set -- "$@" $d/ns/mnt;; esac; done; '
        "find \"$@\" -maxdepth 0 -printf '%p %l\\n'",
    )
)
"""`/proc/4711/ns/mnt mnt:[4026532239]`: of QEMUs, of init, and of the find(1) that asks."""
STATUS_SOURCES: tuple[Source, ...] = threads.SOURCES
ACCOUNT_SOURCES: tuple[Source, ...] = (*STATUS_SOURCES, *qemu_conf.ACCOUNT_SOURCES)
LABEL_SOURCES: tuple[Source, ...] = (*STATUS_SOURCES, LABELS, *qemu_conf.DRIVER_SOURCES)
DAEMON_SOURCES: tuple[Source, ...] = (
    *map(daemon_start.pid_file, DAEMONS),
    *DAEMON_LABELS.values(),
    qemu_conf.SELINUX,
)
LIMIT_SOURCES: tuple[Source, ...] = (
    *STATUS_SOURCES,
    memory_backing.LIMITS,
    *DAEMON_LIMITS.values(),
    *map(daemon_start.pid_file, DAEMONS),
)

BY_FORMULA = "as libvirt's formula says"
CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
"""By their bits (include/uapi/linux/capability.h)."""

_NUMBER = re.compile(r"\d{1,10}", re.ASCII)
_DAC = re.compile(r"([^:\s]{1,64}):([^:\s]{1,64})")
_PROFILE = re.compile(r"(.{1,500}?) \((enforce|complain|kill|prompt|mixed|unconfined|user)\)", re.DOTALL)
"""`libvirt-7f3c0000-0000-4000-8000-000000000301 (enforce)` (apparmor_getprocattr)."""
_CONTEXT = re.compile(r"[^:\s]{1,100}:[^:\s]{1,100}:[^:\s]{1,100}(?::\S{1,300})?")
"""`system_u:system_r:svirt_t:s0:c87,c320`."""
_NOTHING = Unreadable("Invalid argument")
_UNLABELLED = ("", "kernel", "unconfined")
"""Without a policy SELinux calls everything `kernel`."""
_FREE_TYPES = ("unconfined_t", "unconfined_service_t", "initrc_t", "kernel_t")
"""Of services that SELinux's policy does not know, and lets do what they like."""
APPARMOR, SELINUX = "apparmor", "selinux"


# --- every thread's status


def _of_threads(snapshot: Snapshot, guest: str, key: str, value: Callable[[str], object]) -> Iterator[Reading]:
    """A line of every thread's status: one reading for each value that is there, with the first thread that has it."""
    process, seen = threads.pid(snapshot, guest), set()
    for thread in threads.of_process(snapshot, process):
        path = f"/proc/{process}/task/{thread.tid}/status"
        text = _line(threads.task(snapshot, process, thread.tid, "status"), key, path)
        if (found := value(text)) not in seen:
            seen.add(found)
            yield Reading(found, f"{path} {key} of {thread}", f"{key}: {text}")


def _line(status: str, key: str, path: str) -> str:
    match = re.search(rf"^{key}:[ \t]*([\x20-\x7e\t]*)$", status, re.MULTILINE | re.ASCII)
    if match is None:
        raise CannotLook(path, f"names no {key}")
    return " ".join(match[1].split())


def _numbers(text: str, path: str) -> list[int]:
    words = text.split()
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise CannotLook(path, f"are no numbers: {text[:60]}")
    return [int(word) for word in words]


def seccomp(snapshot: Snapshot, guest: str) -> Iterator[Reading]:
    """Whether system calls are filtered, of each thread. `Seccomp:\\t2` -> True; 0 is none, 1 is another thing."""
    return _of_threads(snapshot, guest, "Seccomp", lambda text: text == "2")


def no_new_privs(snapshot: Snapshot, guest: str) -> Iterator[Reading]:
    """Whether no privileges can be gained, of each thread. `NoNewPrivs:\\t1` -> True."""
    return _of_threads(snapshot, guest, "NoNewPrivs", lambda text: text == "1")


def capabilities(snapshot: Snapshot, guest: str) -> Iterator[Reading]:
    """The names of what threads may do, set by set. `CapEff:\\t0000000000001000` -> {"net_admin"}.

    The bounding set is left out: libvirt does not empty it, and NoNewPrivs makes nothing of it.
    """
    for key in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        yield from _of_threads(snapshot, guest, key, lambda text, key=key: _named(text, key))  # type: ignore[misc]


def _named(text: str, key: str) -> frozenset[str]:
    if not re.fullmatch(r"[0-9a-f]{1,16}", text):
        raise CannotLook("/proc/PID/status", f"{key} is no mask: {text[:40]}")
    mask = int(text, 16)
    return frozenset(
        CAPABILITIES[bit] if bit < len(CAPABILITIES) else f"cap_{bit}" for bit in range(64) if mask >> bit & 1
    )


# --- the account


def account_actual(snapshot: Snapshot, guest: str, key: str) -> Iterator[Reading]:
    """The real, effective, saved and filesystem id of every thread: one where they agree. `Uid:\\t64055\\t64055\\t…`"""
    line, database = ("Gid", GROUP) if key == "group" else ("Uid", PASSWD)

    def value(text: str) -> object:
        found = [accounts.numbered(snapshot, database, number) for number in _numbers(text, f"{line} of QEMU")]
        if len(found) != 4:
            raise CannotLook("/proc/PID/status", f"{line} is not as proc(5) describes it: {text[:60]}")
        return found[0] if len(set(found)) == 1 else ", ".join(map(str, found))

    return _of_threads(snapshot, guest, line, value)


def groups(snapshot: Snapshot, guest: str) -> Iterator[Reading]:
    """The supplementary groups of every thread, which hold the main one, too. `Groups:\\t104 64055 ` -> both."""

    def value(text: str) -> frozenset[Account]:
        return frozenset(accounts.numbered(snapshot, GROUP, number) for number in _numbers(text, "Groups of QEMU"))

    return _of_threads(snapshot, guest, "Groups", value)


def account_config(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """As which user or group the guest will start: its own static label, else the daemon's."""
    return _account(snapshot, domain_xml.config(snapshot, guest), key, f"virsh dumpxml --inactive {guest}")


def account_live(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """`<seclabel model='dac'><label>+64055:+64055</label>` -> libvirt-qemu (64055)."""
    return _account(snapshot, domain_xml.live(snapshot, guest), key, f"virsh dumpxml {guest}")


def _account(snapshot: Snapshot, domain: etree._Element, key: str, source: str) -> Reading:
    own = next((one for one in domain.findall("seclabel") if one.get("model") == "dac"), None)
    if own is None:
        return Reading(qemu_conf.default_account(snapshot, key), f"{source}: no label of its own; virsh capabilities")
    return Reading(_told(snapshot, own, key, source), source, domain_xml.shown(own))


def _told(snapshot: Snapshot, own: etree._Element, key: str, source: str) -> Account:
    if (label := own.findtext("label")) is None:
        return Account(0, "root") if own.get("type") == "none" else qemu_conf.default_account(snapshot, key)
    if not (match := _DAC.fullmatch(label)):
        raise CannotLook(source, f"the label of dac is no account: {label[:60]!r}")
    number, database = (2, GROUP) if key == "group" else (1, PASSWD)
    return accounts.written(snapshot, database, match[number], source)


# --- AppArmor and SELinux


def label_config(snapshot: Snapshot, guest: str) -> Reading:
    """Which of them will confine the guest: its own `<seclabel>`, else what the daemon has for guests without one."""
    domain, source = domain_xml.config(snapshot, guest), f"virsh dumpxml --inactive {guest}"
    if (own := _own_label(domain)) is not None:
        return Reading(_model(own), source, domain_xml.shown(own))
    default = qemu_conf.setting(snapshot, "security_default_confined")
    driver = qemu_conf.driver_live(snapshot, "")
    return Reading(driver.value if default.value else "none", f"{source}: no label of its own; {driver.source}")


def label_live(snapshot: Snapshot, guest: str) -> Reading:
    """`<seclabel type='dynamic' model='apparmor'><label>libvirt-7f3c…</label>` -> "apparmor"."""
    own = _own_label(domain_xml.live(snapshot, guest))
    return Reading(_model(own), f"virsh dumpxml {guest}", "no <seclabel>" if own is None else domain_xml.shown(own))


def _own_label(domain: etree._Element) -> etree._Element | None:
    return next((one for one in domain.findall("seclabel") if one.get("model") != "dac"), None)


def _model(label: etree._Element | None) -> str:
    if label is None or label.get("type") == "none":
        return "none"
    return label.get("model", "none")


def label_actual(snapshot: Snapshot, guest: str) -> Reading:
    """What the kernel holds the process with: "apparmor" or "selinux" if it is enforced and the label is the live
    XML's, "none", or what is wrong. /proc/PID/attr/current: `libvirt-7f3c… (enforce)`, `system_u:system_r:svirt_t:s0`
    """
    path, label = _label(snapshot.read(LABELS), str(threads.pid(snapshot, guest)))
    held, name = _held(snapshot, path, label)
    if held in (APPARMOR, SELINUX) and name != _told_label(snapshot, guest):
        held += f", but {_by(held, name)}"
    return Reading(held, path, label)


def daemon_label(snapshot: Snapshot) -> Reading:
    """The same of libvirtd or virtqemud itself, whatever its profile is called.

    `libvirtd (enforce)` -> "apparmor"; `unconfined` -> "none"; `system_u:system_r:virtd_t:s0-s0:c0.c1023` -> "selinux".
    """
    daemon, process = _daemon(snapshot)
    path, label = _label(snapshot.read(DAEMON_LABELS[daemon]), process)
    held, name = _held(snapshot, path, label)
    if held == SELINUX and name.split(":")[2] in _FREE_TYPES:
        held += f", but {_by(held, name)}"
    return Reading(held, path, label)


def _label(found: Files, process: str) -> tuple[str, str]:
    """The attribute of AppArmor's own, else the common one. Neither is readable where the kernel enforces nothing."""
    paths = [f"/proc/{process}/attr/{name}" for name in ("apparmor/current", "current")]
    readable = [path for path in paths if path in found and found[path] != _NOTHING]
    if not readable and _NOTHING in (found.get(path) for path in paths):
        return paths[1], ""
    path = next(iter(readable), paths[1])
    return path, text_of(path, found.get(path, Absent())).rstrip("\0\n")


def _held(snapshot: Snapshot, path: str, label: str) -> tuple[str, str]:
    """APPARMOR or SELINUX if it is enforced, or why it is not; and the profile or context."""
    if label in _UNLABELLED:
        return "none", label
    if match := _PROFILE.fullmatch(label):
        enforced = match[2] in ("enforce", "kill")
        return APPARMOR if enforced else f"apparmor, but in mode {match[2]}", match[1]
    if not _CONTEXT.fullmatch(label):
        raise CannotLook(path, f"is no label that we know: {label[:80]!r}")
    enforced = snapshot.read(qemu_conf.SELINUX).strip() == b"1"
    return SELINUX if enforced else "selinux, but permissive", label


def _by(held: str, name: str) -> str:
    return f"by profile {name[:80]}" if held == APPARMOR else f"with type {name.split(':')[2]}"


def _told_label(snapshot: Snapshot, guest: str) -> str | None:
    own = None if guest in snapshot.by_hand else _own_label(domain_xml.live(snapshot, guest))
    return None if own is None else own.findtext("label")


# --- the mount namespace


def mount_namespace(snapshot: Snapshot, guest: str) -> Reading:
    """Whether it has one of its own, which neither init has nor what asked. `mnt:[4026532239]`"""
    process = threads.pid(snapshot, guest)
    done = snapshot.read(NAMESPACES)
    said = dict(line.partition(" ")[::2] for line in done.stdout.decode("ascii", "replace").splitlines())
    own, *others = (said.get(f"/proc/{one}/ns/mnt", "") for one in (process, 1, "self"))
    if not all(re.fullmatch(r"mnt:\[\d{1,20}\]", one, re.ASCII) for one in (own, *others)):
        raise CannotLook(f"/proc/{process}/ns/mnt", f"cannot be read: {done.stderr.decode('ascii', 'replace')[:200]}")
    return Reading(own not in others, f"/proc/{process}/ns/mnt", f"{own}; init has {others[0]}")


# --- limits


def core(snapshot: Snapshot, guest: str) -> Reading:
    """Bytes of the largest core dump, or "unlimited". /proc/PID/limits: `Max core file size  0  0  bytes` -> 0"""
    return _limit(*_limits(snapshot, threads.pid(snapshot, guest)), "Max core file size")


def memlock(snapshot: Snapshot, guest: str, wanted: object) -> Reading:
    """Bytes that may be locked, or "unlimited"; of a guest that shall have what the formula says, whether it has."""
    found = _limit(*_limits(snapshot, threads.pid(snapshot, guest)), "Max locked memory")
    if wanted != "formula":
        return found
    due, why = formula(snapshot, guest)
    value = BY_FORMULA if found.value == due else f"{found.value}, not {due}: {why}"
    return Reading(value, found.source, f"{found.excerpt}; {why}: {due}")


def formula(snapshot: Snapshot, guest: str) -> tuple[int | str, str]:
    """What libvirt lets a guest lock, and why. Raises NotApplicable for what was started by hand, CannotLook.

    `<hard_limit>` in bytes, unrounded; else `<locked/>`: unlimited; else 1 GiB and, for VFIO, all its memory (with an
    `<iommu>` for each device), and again for each vDPA interface and NVMe disk; else what the daemon itself may lock.
    """
    domain, source = domain_xml.live(snapshot, guest), f"virsh dumpxml {guest}"
    if (limit := domain.find("memtune/hard_limit")) is not None:
        return domain_xml.size(limit, source), "its hard limit"
    if domain.find("memoryBacking/locked") is not None:
        return "unlimited", "its memory is locked"
    if times := _times(domain):
        memory = domain.find("memory")
        if memory is None:
            raise CannotLook(source, "names no <memory>")
        return times * domain_xml.size(memory, source) + (1 << 30), f"{times} times its memory, and 1 GiB"
    return _daemons_own(snapshot), "the daemon's own"


def _times(domain: etree._Element) -> int:
    vfio = len([one for one in domain.findall("devices/hostdev") if one.get("type") in ("pci", "mdev")])
    vdpa = len(domain.findall("devices/interface[@type='vdpa']"))
    vfio += len(domain.findall("devices/interface[@type='hostdev']"))
    nvme = len(domain.findall("devices/disk[@type='nvme']"))
    return (vfio if domain.find("devices/iommu") is not None else min(vfio, 1)) + vdpa + nvme


def _daemons_own(snapshot: Snapshot) -> int | str:
    name, process = _daemon(snapshot)
    path = f"/proc/{process}/limits"
    text = text_of(path, snapshot.read(DAEMON_LIMITS[name]).get(path, Absent()))
    value: int | str = _limit(path, text, "Max locked memory").value
    return value


def _daemon(snapshot: Snapshot) -> tuple[str, str]:
    """Which of them runs, and its process id. Raises CannotLook."""
    for name in DAEMONS:
        if (pid := snapshot.maybe(daemon_start.pid_file(name))) is not None:
            return name, pid.decode("ascii", "replace").strip()[:10]
    raise CannotLook("/run", f"holds no pid file of {' or '.join(DAEMONS)}")


def _limits(snapshot: Snapshot, process: int) -> tuple[str, str]:
    path = f"/proc/{process}/limits"
    return path, text_of(path, snapshot.read(memory_backing.LIMITS).get(path, Absent()))


def _limit(path: str, text: str, name: str) -> Reading:
    """The soft one, which counts."""
    match = re.search(rf"^{name} {{2,}}(\d{{1,20}}|unlimited) .*$", text, re.MULTILINE | re.ASCII)
    if match is None:
        raise CannotLook(path, f"does not tell the limit {name!r}")
    return Reading(match[1] if match[1] == "unlimited" else int(match[1]), path, " ".join(match[0].split()))
