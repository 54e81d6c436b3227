"""virt-host-validate's facts, on hosts of many kinds: architectures, cgroup layouts, IOMMUs, accounts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from virtvet.check import Case, Probe, run_probe
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, host_validate, kernel, slices
from virtvet.profile.host_validate import LXC, QEMU, HostValidate
from virtvet.snapshot.model import Absent, Answer, Completed, Content, LibvirtAnswer, Snapshot, Status, Unreadable
from virtvet.snapshot.sources import File, Libvirt, Source, Stat

DATA = Path(__file__).parents[1] / "probes" / "host_validate"
CAPABILITIES = (DATA / "capabilities.xml").read_text()
V1 = (DATA / "mounts_v1").read_bytes()
V2 = b"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot 0 0\n"
HYBRID = V1 + b"cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n"
OFFERED = b"cpuset cpu io memory hugetlb pids rdma misc\n"
DEBIAN = CAPABILITIES.replace("+0:+0", "+64055:+107")

Answers = Mapping[Source, Answer]


def said(text: str, returncode: int = 0, err: str = "") -> Completed:
    return Completed(returncode, text.encode(), err.encode())


def device(mode: int = 0o660, uid: int = 0, gid: int = 107, kind: str = host_validate.CHARACTER_DEVICE) -> Status:
    return Status(kind, mode, "root", "kvm", uid, gid, 0)


def host(answers: Answers) -> Snapshot:
    return Snapshot("hv1", datetime(2026, 1, 1, tzinfo=UTC), answers)


def value(probe: Probe, answers: Answers, *args: object) -> object:
    (reading,) = run_probe(probe, host(answers), Case("it", True, args))
    assert reading.source
    return reading.value


def cpus(machine: str, lines: str) -> Answers:
    return {kernel.MACHINE: said(machine + "\n"), kernel.CPU_FLAGS: said(lines)}


@pytest.mark.parametrize(
    ("machine", "lines", "there"),
    [
        ("x86_64", "flags\t\t: fpu vmx sse2\n", True),
        ("x86_64", "flags\t\t: fpu svm\n", True),
        ("i686", "flags\t\t: fpu svm\n", True),
        ("x86_64", "flags\t\t: fpu svm_lock vmx_flags\n", False),
        ("x86_64", "flags\t\t: fpu vmx\nflags\t\t: fpu\n", False),
        ("s390x", "features\t: esan3 zarch sie\n", True),
        ("s390x", "features\t: esan3 zarch\n", False),
        ("ppc64le", "", True),
    ],
)
def test_hardware_virtualization(machine: str, lines: str, there: bool) -> None:
    assert value(host_validate.hardware_virtualization, cpus(machine, lines)) is there


def test_arm_says_it_by_the_device_alone() -> None:
    with pytest.raises(NotApplicable, match="aarch64"):
        host_validate.hardware_virtualization(host(cpus("aarch64", "")))


@pytest.mark.parametrize("flags", [said(""), said("", 127, "sh: grep: not found"), Absent()])
def test_no_flags_are_no_answer(flags: Answer) -> None:
    with pytest.raises(CannotLook):
        host_validate.hardware_virtualization(host({kernel.MACHINE: said("x86_64"), kernel.CPU_FLAGS: flags}))


@pytest.mark.parametrize(
    ("probe", "source"),
    [
        (host_validate.kvm, host_validate.KVM),
        (host_validate.tun, host_validate.TUN),
        (host_validate.vhost_net, host_validate.VHOST_NET),
    ],
)
def test_a_device_is_a_character_device(probe: Probe, source: Stat) -> None:
    assert value(probe, {source: device()}) is True
    assert value(probe, {source: device(kind="regular file")}) is False
    assert value(probe, {source: Absent()}) is False
    with pytest.raises(CannotLook):
        value(probe, {source: Unreadable("Permission denied")})


@pytest.mark.parametrize(
    ("found", "capabilities", "may"),
    [
        (device(0o660), DEBIAN, True),
        (device(0o660, gid=0), DEBIAN, False),
        (device(0o666, gid=0), DEBIAN, True),
        (device(0o606, gid=107), DEBIAN, False),
        (device(0o640), DEBIAN, False),
        (device(0o600, uid=64055), DEBIAN, True),
        (device(0o066, uid=64055), DEBIAN, False),
        (device(0o660, gid=36), DEBIAN, True),
        (device(0o660), CAPABILITIES, True),
        (device(0o060, gid=0), CAPABILITIES, False),
        (Absent(), DEBIAN, False),
    ],
)
def test_kvm_is_open_to_qemus_account(found: Answer, capabilities: str, may: bool) -> None:
    answers: Answers = {
        host_validate.KVM: found,
        Libvirt(): LibvirtAnswer("qemu:///system", "hv1", 9_000_000, 7_002_000, capabilities, {}),
        host_validate.PASSWD: Content(b"root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:64055:107::/:/bin/false\nbroken\n"),
        host_validate.GROUP: Content(b"kvm:x:107:\ndisk:x:36:a,libvirt-qemu\nx:x:nan:libvirt-qemu\n"),
    }
    assert value(host_validate.kvm_accessible, answers) is may


@pytest.mark.parametrize("text", ["", "<capabilities/>", "<a", CAPABILITIES.replace("+0:+0", "root:root")])
def test_an_unknown_account_is_no_answer(text: str) -> None:
    with pytest.raises(CannotLook, match="virsh capabilities"):
        host_validate.qemu_account(text)


def controllers(mounts: bytes, offered: Answer, bpf: Answer, systemd: Answer | None = None) -> Answers:
    """mounts: as /proc/mounts has them."""
    v2, unified = cgroup.UNIFIED
    words = (line.split(b" ") for line in mounts.splitlines())
    lines = (b"30 1 0:9 / %b rw - %b %b %b\n" % (at, kind, what, options) for what, at, kind, options, *_ in words)
    return {
        **{cgroup.MOUNTS: Content(b"".join(lines)), v2: offered, unified: offered, host_validate.DEVICES_BPF: bpf},
        **{slices.RUNS: systemd or device(kind="directory"), cgroup.FILES: {}},
    }


def found(answers: Answers, name: str) -> list[object]:
    return [one.value for one in host_validate.controller(host(answers), name)]


FUNCTION = said("__cgroup_bpf_check_dev_permission\n")
ALL = ("cpu", "cpuacct", "cpuset", "memory", "devices", "blkio", "freezer")


@pytest.mark.parametrize(
    ("mounts", "offered", "bpf", "there"),
    [
        (V1, Absent(), said(""), set(ALL)),
        (V2, Content(OFFERED), FUNCTION, set(ALL) - {"freezer"}),
        (V2, Content(OFFERED), said("", 1), set(ALL) - {"freezer", "devices"}),
        (V2, Content(b"pids\n"), FUNCTION, {"cpuacct", "devices"}),
        (HYBRID, Content(b""), said(""), set(ALL)),
        (HYBRID.replace(b",freezer", b",pids"), Content(b"hugetlb\n"), said(""), set(ALL) - {"freezer"}),
        (HYBRID.replace(b"cpuacct", b"pids"), Content(b""), said("x", 0), set(ALL) - {"cpuacct"}),
        (b"", Absent(), said("", 1), set()),
        (b"cgroup /x cgroup rw,cpu,cpuacct 0 0\n", Absent(), said("", 1), {"cpu", "cpuacct"}),
        (b"cgroup /x cgroup rw,cpuset 0 0\n", Absent(), said("", 1), {"cpuset"}),
    ],
)
def test_controllers(mounts: bytes, offered: Answer, bpf: Answer, there: set[str]) -> None:
    answers = controllers(mounts, offered, bpf)
    assert {name for name in ALL if found(answers, name) == [True]} == there


def test_an_empty_tree_stands_in_the_way_where_systemd_does_not_fill_it() -> None:
    answers = controllers(HYBRID, Content(b""), said(""), Absent())
    assert found(answers, "cpu") == [True, False]
    assert found(answers | {cgroup.FILES: {"/sys/fs/cgroup/unified/machine/cgroup.type": Content(b"")}}, "cpu") == [
        True
    ]


def test_an_unreadable_or_unknown_cgroup2_is_no_answer() -> None:
    with pytest.raises(CannotLook, match="denied"):
        found(controllers(V2, Unreadable("Permission denied"), FUNCTION), "cpu")
    with pytest.raises(CannotLook):
        found(controllers(V2.replace(b" /sys", b" /opt"), Content(OFFERED), FUNCTION), "cpu")


NONE = Absent()


def secure(machine: str = "x86_64", sev: Answer = NONE, node: Answer = NONE, tdx: Answer = NONE) -> Answers:
    lines = "features\t: sie\nfacilities      : 0 1 2 158\n"
    return {
        **cpus(machine, lines),
        host_validate.SEV: sev,
        host_validate.SEV_DEVICE: node,
        host_validate.TDX: tdx,
        host_validate.ULTRAVISOR: node,
        host_validate.CMDLINE: Content(b"root=/dev/dasda1 prot_virt=1\n"),
    }


@pytest.mark.parametrize(
    ("answers", "on"),
    [
        (secure(), False),
        (secure(sev=Content(b"Y\n"), node=device()), True),
        (secure(sev=Content(b"1\n"), node=device()), True),
        (secure(sev=Content(b"N\n"), node=device()), False),
        (secure(sev=Content(b"Y\n")), False),
        (secure(tdx=Content(b"Y\n")), True),
        (secure("s390x", node=device(kind="directory")), True),
        (secure("s390x"), False),
        ({**secure("s390x", node=device()), host_validate.CMDLINE: Content(b"noprot_virt=1 prot_virt=0\n")}, False),
    ],
)
def test_secure_guests(answers: Answers, on: bool) -> None:
    assert value(host_validate.secure_guest, answers) is on


@pytest.mark.parametrize(
    ("uname", "new"), [("Linux 6.1.0-30-amd64", True), ("Linux 2.6.25", False), ("Linux 3.10", True)]
)
def test_kernel(uname: str, new: bool) -> None:
    assert value(host_validate.linux, {kernel.UNAME: said(uname)}) is new


def test_no_release_is_no_answer() -> None:
    with pytest.raises(CannotLook, match="no kernel release"):
        value(host_validate.linux, {kernel.UNAME: said("Linux rolling")})


@pytest.mark.parametrize(
    ("there", "limit", "can"),
    [
        (device(), Content(b"96365\n"), True),
        (device(), Content(b"0\n"), False),
        (device(), Absent(), True),
        (Absent(), Content(b"9\n"), False),
    ],
)
def test_namespace(there: Answer, limit: Answer, can: bool) -> None:
    answers = {Stat("/proc/self/ns/user"): there, File("/proc/sys/user/max_user_namespaces"): limit}
    assert value(host_validate.namespace, answers, "user") is can


def test_kvm_hv_is_a_matter_of_power() -> None:
    answers: Answers = {kernel.MACHINE: said("ppc64le"), host_validate.KVM_HV: Absent()}
    assert value(host_validate.kvm_hv, answers) is False
    with pytest.raises(NotApplicable):
        value(host_validate.kvm_hv, {kernel.MACHINE: said("x86_64")})


# --- what the profile asks

EXTRA = {"sev_es", "sev_snp"}


def asked(profile: HostValidate) -> dict[str, bool]:
    facts = {*QEMU, *LXC, *EXTRA}
    return {fact: want for fact in facts if (want := profile.want(fact)) is not None}


def test_nothing_is_asked_unless_stated() -> None:
    assert asked(HostValidate()) == {}


def test_everything_of_a_driver() -> None:
    assert asked(HostValidate(qemu=True)) == dict.fromkeys(QEMU, True)
    assert asked(HostValidate(lxc=True)) == dict.fromkeys(LXC, True)


def test_what_is_stated_goes_first() -> None:
    stated = HostValidate.model_validate(
        {"lxc": True, "kvm": False, "sev_es": True, "fuse": "any", "controllers": {"cpu": False, "blkio": "any"}}
    )
    found = asked(stated)
    assert (found["kvm"], found["sev_es"], found["controllers.cpu"]) == (False, True, False)
    assert not {"fuse", "controllers.blkio", "tun"} & set(found)
    assert found["namespaces.user"] is True
