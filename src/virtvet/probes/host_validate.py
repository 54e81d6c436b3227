"""The facts that virt-host-validate checks, each judged by what the kernel says.

Where the tool's own way misleads, ours departs from it, and docs/areas/host-validate.md says how. Its sources:
tools/virt-host-validate-{common,qemu,lxc}.c of libvirt. Every probe answers whether the fact holds, and shows why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lxml import etree

from virtvet.check import Probe, Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, kernel, partitions, slices
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command, File, Libvirt, Source, Stat

X86 = ("x86_64", "i386", "i486", "i586", "i686")
CHARACTER_DEVICE = "character special file"
"""GNU stat's word."""


# --- hardware virtualization and /dev/kvm

KVM = Stat("/dev/kvm")
PASSWD = File("/etc/passwd")
GROUP = File("/etc/group")
CPU_SOURCES: tuple[Source, ...] = (kernel.MACHINE, kernel.CPU_FLAGS)
ACCOUNT_SOURCES: tuple[Source, ...] = (Libvirt(), PASSWD, GROUP)
KVM_ACCESS_SOURCES: tuple[Source, ...] = (KVM, *ACCOUNT_SOURCES)

_CPU_FEATURES = {**dict.fromkeys(X86, ("vmx", "svm")), "s390x": ("sie",)}


def hardware_virtualization(snapshot: Snapshot) -> Reading:
    """All CPUs offer vmx or svm (x86), or sie (s390x); POWER always can. Elsewhere NotApplicable is raised."""
    machine = kernel.architecture(snapshot)
    if machine.startswith("ppc64"):
        return Reading(True, str(kernel.MACHINE), machine)
    if machine not in _CPU_FEATURES:
        raise NotApplicable(f"no CPU flag of {machine} tells; /dev/kvm does")
    wanted = _CPU_FEATURES[machine]
    found = sorted(kernel.cpu_flags(snapshot).intersection(wanted))
    return Reading(bool(found), "/proc/cpuinfo", f"flags: {' '.join(found)}" if found else f"no {' or '.join(wanted)}")


def _character_device(source: Stat) -> Probe:
    """A probe: the path is a character device, and not just any file."""

    def probe(snapshot: Snapshot) -> Reading:
        found = snapshot.maybe_stat(source)
        excerpt = f"{found.kind} {found.mode:04o} {found.owner}:{found.group}" if found else "does not exist"
        return Reading(found is not None and found.kind == CHARACTER_DEVICE, source.path, excerpt)

    return probe


kvm = _character_device(KVM)


def kvm_accessible(snapshot: Snapshot) -> Reading:
    """As `accessible`, of /dev/kvm."""
    return accessible(snapshot, KVM)


def accessible(snapshot: Snapshot, device: Stat) -> Reading:
    """The account that libvirt runs QEMU as may read and write a device, by its permission bits.

    Root's bits count, too, though capabilities pass them by: a QEMU that is confined later would be shut out.
    """
    uid, gid = qemu_account(snapshot.read(Libvirt()).capabilities_xml)
    found = snapshot.maybe_stat(device)
    if found is None:
        return Reading(False, device.path, "does not exist")
    groups = {gid, *supplementary_groups(_text(snapshot, PASSWD), _text(snapshot, GROUP), uid)}
    shift = 6 if found.uid == uid else 3 if found.gid in groups else 0
    excerpt = f"{found.mode:04o} {found.owner}:{found.group}; QEMU runs as user {uid}, groups {sorted(groups)}"
    return Reading(found.mode >> shift & 0o6 == 0o6, device.path, excerpt)


def qemu_account(capabilities: str) -> tuple[int, int]:
    """User and group number that libvirt starts QEMU with. Raises CannotLook.

    `<secmodel><model>dac</model><baselabel type='kvm'>+64055:+106</baselabel></secmodel>` -> (64055, 106)
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        models = list(etree.fromstring(capabilities.encode(), parser).iterfind(".//secmodel"))
    except etree.XMLSyntaxError as mistake:
        raise CannotLook("virsh capabilities", f"is not XML: {mistake}") from None
    label = next((one.findtext("baselabel") for one in models if one.findtext("model") == "dac"), None)
    match = re.fullmatch(r"\+(\d{1,10}):\+(\d{1,10})", label or "", re.ASCII)
    if match is None:
        raise CannotLook("virsh capabilities", "names no account for QEMU (security model dac)")
    return int(match[1]), int(match[2])


def supplementary_groups(passwd: str, group: str, uid: int) -> frozenset[int]:
    """A user's groups (src/util/virutil.c, virGetGroupList): its own of /etc/passwd, and those /etc/group gives to it.

    `libvirt-qemu:x:64055:104:…` and `kvm:x:106:libvirt-qemu` -> {104, 106}.
    """
    accounts = [fields for fields in _colons(passwd, 7) if fields[2] == str(uid)]
    users, own = {fields[0] for fields in accounts}, {fields[3] for fields in accounts}
    given = {fields[2] for fields in _colons(group, 4) if users & set(fields[3].split(","))}
    return frozenset(int(number) for number in own | given if number.isdecimal())


def _colons(text: str, count: int) -> Iterable[list[str]]:
    lines = (line.split(":") for line in text.splitlines())
    return [fields for fields in lines if len(fields) == count]


def _text(snapshot: Snapshot, source: File) -> str:
    return snapshot.read(source).decode("utf-8", "backslashreplace")


KVM_HV = Stat("/sys/module/kvm_hv")
KVM_HV_SOURCES: tuple[Source, ...] = (kernel.MACHINE, KVM_HV)


def kvm_hv(snapshot: Snapshot) -> Reading:
    """The module kvm_hv is there, loaded or built in. Raises NotApplicable where it does not exist."""
    if not (machine := kernel.architecture(snapshot)).startswith("ppc64"):
        raise NotApplicable(f"{machine} has no kvm_hv: it is a module of ppc64")
    return _exists(snapshot, KVM_HV)


def _exists(snapshot: Snapshot, source: Stat) -> Reading:
    found = snapshot.maybe_stat(source)
    return Reading(found is not None, source.path, found.kind if found else "does not exist")


# --- devices

VHOST_NET = Stat("/dev/vhost-net")
TUN = Stat("/dev/net/tun")
vhost_net = _character_device(VHOST_NET)
tun = _character_device(TUN)


# --- cgroup controllers

_BPF = "__cgroup_bpf_check_dev_permission"
DEVICES_BPF = Command(
    ("sh", "-c", f"grep -Eq ' cgroup [^ ]*\\<devices\\>' /proc/self/mounts || grep -m1 -ow {_BPF} /proc/kallsyms")
)
"""cgroup v2 has no devices controller: libvirt loads a BPF program, for which the kernel must have this function
(CONFIG_CGROUP_BPF). Not looked for where cgroup v1 has the controller: /proc/kallsyms is long."""
CONTROLLER_SOURCES: tuple[Source, ...] = (*cgroup.SOURCES, slices.RUNS, DEVICES_BPF)


def controller(snapshot: Snapshot, name: str) -> Iterator[Reading]:
    """libvirt finds this controller: mounted as cgroup v1, or offered by cgroup v2 (src/util/vircgroupv{1,2}.c); and
    no tree without controllers stands in its way where systemd does not make the groups that it looks for there."""
    yield _offered(snapshot, name)
    if snapshot.maybe_stat(slices.RUNS) is None and (why := partitions.trap(snapshot, "/machine")):
        yield Reading(False, str(cgroup.MOUNTS), why)


def _offered(snapshot: Snapshot, name: str) -> Reading:
    if (found := cgroup.hierarchies(snapshot).get(name)) is None:
        return Reading(False, str(cgroup.MOUNTS), f"no cgroup v1 mount has {name}, and cgroup v2 does not offer it")
    if found.unified and name == "devices":
        done = snapshot.read(DEVICES_BPF)
        return Reading(done.returncode == 0, "/proc/kallsyms", done.stdout.decode("ascii", "replace").strip())
    there = not (found.unified and name == "freezer")
    return Reading(there, str(cgroup.MOUNTS), f"{name}: {found.mountpoint if there else 'none that libvirt takes'}")


# --- secure guests

SEV = File("/sys/module/kvm_amd/parameters/sev")
SEV_ES = File("/sys/module/kvm_amd/parameters/sev_es")
SEV_SNP = File("/sys/module/kvm_amd/parameters/sev_snp")
SEV_DEVICE = Stat("/dev/sev")
TDX = File("/sys/module/kvm_intel/parameters/tdx")
ULTRAVISOR = Stat("/sys/firmware/uv")
CMDLINE = File("/proc/cmdline")
SECURE_SOURCES: tuple[Source, ...] = (*CPU_SOURCES, SEV, SEV_DEVICE, TDX, ULTRAVISOR, CMDLINE)

_PROT_VIRT = re.compile(r"(?:^|\s)prot_virt=(?:y|on|1)", re.IGNORECASE)


def secure_guest(snapshot: Snapshot) -> Reading:
    """KVM can run encrypted guests: AMD SEV, Intel TDX or IBM Secure Execution is on."""
    if kernel.architecture(snapshot) == "s390x":
        return _secure_execution(snapshot)
    sev, tdx = _on(snapshot, SEV), _on(snapshot, TDX)
    device = snapshot.maybe_stat(SEV_DEVICE) is not None
    excerpt = f"kvm_amd sev={_yes(sev)}, {SEV_DEVICE.path}: {_yes(device)}, kvm_intel tdx={_yes(tdx)}"
    return Reading((sev and device) or tdx, f"{SEV}, {SEV_DEVICE.path}, {TDX}", excerpt)


def _secure_execution(snapshot: Snapshot) -> Reading:
    facility = "facility158" in kernel.cpu_flags(snapshot)
    supported = snapshot.maybe_stat(ULTRAVISOR) is not None
    asked = bool(_PROT_VIRT.search(_text(snapshot, CMDLINE)))
    excerpt = f"facility 158: {_yes(facility)}, {ULTRAVISOR.path}: {_yes(supported)}, prot_virt=1: {_yes(asked)}"
    return Reading(facility and supported and asked, f"/proc/cpuinfo, {ULTRAVISOR.path}, {CMDLINE}", excerpt)


def _parameter(source: File) -> Probe:
    """A probe: a module's parameter is on; off where the module is not loaded."""

    def probe(snapshot: Snapshot) -> Reading:
        return Reading(_on(snapshot, source), source.path, _yes(_on(snapshot, source)))

    return probe


sev_es = _parameter(SEV_ES)
sev_snp = _parameter(SEV_SNP)


def _on(snapshot: Snapshot, source: File) -> bool:
    """Kernel booleans read `Y` or `1`."""
    return (snapshot.maybe(source) or b"").strip() in (b"Y", b"y", b"1")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


# --- containers

NAMESPACES = ("ipc", "mnt", "net", "pid", "user", "uts")
NAMESPACE_SOURCES: tuple[Source, ...] = (
    *(Stat(f"/proc/self/ns/{name}") for name in NAMESPACES),
    *(File(f"/proc/sys/user/max_{name}_namespaces") for name in NAMESPACES),
)
FUSE = Stat("/sys/fs/fuse/connections")
OLDEST = (2, 6, 26)


def linux(snapshot: Snapshot) -> Reading:
    """Linux 2.6.26 or newer: `Linux 6.1.0-30-amd64`."""
    said = kernel.text(snapshot, kernel.UNAME)
    name, _, release = said.partition(" ")
    return Reading(name == "Linux" and kernel.version(release, kernel.UNAME) >= OLDEST, str(kernel.UNAME), said)


def namespace(snapshot: Snapshot, name: str) -> Reading:
    """The kernel has this kind of namespace, and lets more than none be made (sysctl user.max_*_namespaces)."""
    there = snapshot.maybe_stat(Stat(f"/proc/self/ns/{name}")) is not None
    limit = snapshot.maybe(File(f"/proc/sys/user/max_{name}_namespaces"))
    allowed = limit is None or limit.strip() != b"0"
    shown = "no limit" if limit is None else limit.decode("ascii", "replace").strip()
    return Reading(there and allowed, f"/proc/self/ns/{name}", f"there: {_yes(there)}, at most: {shown}")


def fuse(snapshot: Snapshot) -> Reading:
    """FUSE is loaded: libvirt's containers get their /proc/meminfo through it."""
    return _exists(snapshot, FUSE)
