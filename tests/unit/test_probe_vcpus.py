"""vCPUs on every layer. Recorded: tests/probes/vcpus/app1.txt; rules of udev as distributions have them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from tests.looks import V1, V2, changed, look
from virtvet.check import Case
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cpu_bandwidth, hotplug_rules, kernel, placement, vcpus
from virtvet.profile.model import CpuWants
from virtvet.profile.vcpus import Vcpu, VcpuWants
from virtvet.remedies import vcpus as remedy
from virtvet.remedies.change import CannotMend
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Status
from virtvet.snapshot.sources import Source

APP1 = "vcpus/app1"
CONFIG, LIVE = "virsh dumpxml --inactive app1", "virsh dumpxml app1"
VCPU = '<vcpu placement="static" cpuset="0-1" current="3">4</vcpu>'
QMP = "query-cpus-fast of app1's QEMU"
INSIDE = "inside app1 /sys/devices/system/cpu"
BOTH = frozenset({0, 1})


@pytest.mark.parametrize(("what", "value"), [("maximum", 4), ("current", 3), ("placement", "static")])
def test_libvirt_says_the_same_twice(what: str, value: object) -> None:
    assert vcpus.config(look(APP1), "app1", what).value == value
    assert vcpus.live(look(APP1), "app1", what).value == value


@pytest.mark.parametrize(
    ("element", "values"),
    [
        ("<vcpu>2</vcpu>", (2, 2, "static", None)),
        ("<vcpu placement='auto' current='1'>2</vcpu>", (2, 1, "auto", None)),
        ("<vcpu cpuset='1-2,^2'>2</vcpu>", (2, 2, "static", {1})),
        ("", (1, 1, "static", None)),
    ],
)
def test_what_is_not_written_has_its_default(element: str, values: tuple[object, ...]) -> None:
    seen = look(APP1, changed(APP1, CONFIG, VCPU, element))
    counted = [vcpus.config(seen, "app1", what).value for what in ("maximum", "current", "placement")]
    assert (*counted, vcpus.config_cpuset(seen, "app1", BOTH).value) == values


@pytest.mark.parametrize("element", ["<vcpu>many</vcpu>", "<vcpu current='-1'>2</vcpu>", "<vcpu>٣</vcpu>"])
def test_what_is_no_number_is_an_error(element: str) -> None:
    with pytest.raises(CannotLook):
        vcpus.live(look(APP1, changed(APP1, LIVE, VCPU, element)), "app1", "current")


# --- one by one


@pytest.mark.parametrize(
    ("number", "what", "value"),
    [
        (0, "enabled", True),
        (0, "hotpluggable", False),
        (0, "order", 1),
        (2, "enabled", True),
        (2, "hotpluggable", True),
        (2, "order", 3),
        (3, "enabled", False),
        (3, "hotpluggable", True),
        (3, "order", None),
        (4, "enabled", None),
    ],
)
def test_each_vcpu(number: int, what: str, value: object) -> None:
    assert vcpus.config_one(look(APP1), "app1", number, what).value == value
    assert vcpus.live_one(look(APP1), "app1", number, what).value == value


@pytest.mark.parametrize(
    ("number", "values"),
    [(0, (True, False, 1)), (1, (True, False, 2)), (2, (None, None, None))],
)
def test_without_a_list_all_are_of_the_start(number: int, values: tuple[object, ...]) -> None:
    """web1 has two."""
    said = [vcpus.live_one(look(V1), "web1", number, what).value for what in ("enabled", "hotpluggable", "order")]
    assert tuple(said) == values


@pytest.mark.parametrize(
    ("number", "what", "value"),
    [(0, "enabled", True), (0, "hotpluggable", False), (2, "hotpluggable", True), (3, "enabled", False)],
)
def test_what_qemu_has(number: int, what: str, value: bool) -> None:
    assert vcpus.actual_one(look(APP1), "app1", number, what).value is value


@pytest.mark.parametrize(("number", "what"), [(0, "order"), (3, "hotpluggable")])
def test_what_qemu_cannot_say(number: int, what: str) -> None:
    with pytest.raises(NotApplicable):
        vcpus.actual_one(look(APP1), "app1", number, what)


# --- how many there are


def counts(edits: Mapping[str, str | None] | None = None) -> list[int]:
    return [one.value for one in vcpus.actual_current(look(APP1, edits), "app1", "current")]


def test_qemu_and_the_threads_are_two_readings() -> None:
    assert counts() == [3, 3]


def test_a_vcpu_plugged_in_behind_libvirt_is_seen() -> None:
    new = '"cpu-index": 2, "target": "x86_64"}, {"qom-path": "/machine/peripheral/mine", "cpu-index": 3, '
    assert counts(changed(APP1, QMP, '"cpu-index": 2, ', new)) == [4, 3]


def test_a_vcpu_thread_that_is_gone_is_seen() -> None:
    assert counts({f"/proc/107/task/136/{name}": None for name in ("stat", "status", "comm", "cgroup")}) == [3, 2]


def test_single_threaded_tcg_has_no_vcpu_threads() -> None:
    """libvirt then writes pid 0 for each (constructed)."""
    assert counts({"/run/libvirt/qemu/app1.xml": "    <vcpu id='0' pid='0'/>\n    <vcpu id='1' pid='0'/>\n"}) == [3]


@pytest.mark.parametrize(
    "said", ["{}", "[]", "[1]", '[{"cpu-index": "0", "qom-path": "/a"}]', '[{"cpu-index": 0}]', "x"]
)
def test_an_answer_that_makes_no_sense_is_an_error(said: str) -> None:
    with pytest.raises(CannotLook):
        counts({QMP: said})


@pytest.mark.parametrize(
    ("smp", "most"),
    [
        ("sockets=2,cores=2,threads=1", 4),
        ("2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2", 4),
        ("2", 2),
        ("cpus=2,maxcpus=8", 8),
        ("3,sockets=3,cores=1,threads=1", 3),
    ],
)
def test_the_maximum_stands_in_qemus_arguments(smp: str, most: int) -> None:
    edit = changed(APP1, "qemu.ARGUMENTS", "2,maxcpus=4,sockets=1,dies=1,cores=2,threads=2", smp)
    assert vcpus.actual_maximum(look(APP1, edit), "app1", "maximum").value == most


def test_without_smp_there_is_one() -> None:
    edit = {"qemu.ARGUMENTS": "/proc/107/cmdline:-name\n/proc/107/cmdline-guest=app1,debug-threads=on\n"}
    assert vcpus.actual_maximum(look(APP1, edit), "app1", "maximum").value == 1


# --- where they run


def cpusets(edits: Mapping[str, str | None] | None = None) -> set[object]:
    return {one.value for one in vcpus.actual_cpuset(look(APP1, edits), "app1", BOTH)}


def test_every_thread_without_a_pin_is_on_the_domains_cpus() -> None:
    assert vcpus.live_cpuset(look(APP1), "app1", BOTH).value == BOTH
    assert cpusets() == {BOTH}
    group = "/sys/fs/cgroup/cpuset/machine/qemu-3-app1.libvirt-qemu/vcpu2/cpuset.cpus"
    assert cpusets({group: "0\n"}) == {BOTH, frozenset({0})}


def test_a_pin_of_its_own_goes_before() -> None:
    group = "/sys/fs/cgroup/cpuset/machine/qemu-3-app1.libvirt-qemu/vcpu2/cpuset.cpus"
    pinned = changed(APP1, LIVE, "<cputune>", "<cputune><vcpupin vcpu='2' cpuset='0'/>")
    assert cpusets({group: "0\n", **pinned}) == {BOTH}


# --- inside the guest


def test_the_guest_counts_what_is_online() -> None:
    assert vcpus.possible(look(APP1), "app1", "maximum").value == 4
    seen = vcpus.online(look(APP1, {f"{INSIDE}/online": "0-1\n"}), "app1", "current")
    assert (seen.value, seen.excerpt) == (2, "online 0-1, present 0-2")


@pytest.mark.parametrize("text", ["", "x\n", "3-1\n", None])
def test_a_file_that_makes_no_sense_is_an_error(text: str | None) -> None:
    with pytest.raises(CannotLook):
        vcpus.online(look(APP1, {f"{INSIDE}/online": text}), "app1", "current")


ONLINES = 'SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"'
UBUNTU = """\
ATTR{[dmi/id]sys_vendor}=="Microsoft Corporation", ATTR{[dmi/id]product_name}=="Virtual Machine", GOTO="vm_hotadd_apply"
ATTR{[dmi/id]sys_vendor}=="Xen", GOTO="vm_hotadd_apply"
GOTO="vm_hotadd_end"
LABEL="vm_hotadd_apply"
SUBSYSTEM=="memory", ACTION=="add", TEST=="state", ATTR{state}!="online", ATTR{state}="online"
SUBSYSTEM=="cpu", ACTION=="add", DEVPATH=="/devices/system/cpu/cpu[0-9]*", TEST=="online", ATTR{online}!="1", \\
  ATTR{online}="1"
LABEL="vm_hotadd_end"
"""
REDHAT = f"""\
# CPU hotadd request
{ONLINES}

SUBSYSTEM!="memory", GOTO="memory_hotplug_end"
PROGRAM="/bin/uname -p", RESULT=="s390*", GOTO="memory_hotplug_end"
LABEL="memory_hotplug_end"
"""
GUARDED = 'SUBSYSTEM!="cpu", GOTO="end"\nACTION!="add", GOTO="end"\nATTR{online}="1"\nLABEL="end"'


def guest(
    files: Mapping[str, str] | None = None,
    names: tuple[str, ...] = (),
    *,
    udev: bool = True,
    mdev: bool = False,
    conf: str | None = None,
    vendor: str = "QEMU",
) -> Snapshot:
    """app1, with these rules inside. `files`: rules that matter, `names`: all other files, each by its path."""
    lines = [f"{path}:{line}" for path, text in (files or {}).items() for line in text.splitlines()]
    said = "\n".join([*names, *(files or {}), *lines, ""])
    answers: dict[Source, Answer] = {
        hotplug_rules.RULES: Completed(0, said.encode(), b""),
        hotplug_rules.UDEV: Status("socket", 0o600, "root", "root", 0, 0, 0) if udev else Absent(),
        hotplug_rules.MDEV: {"/proc/149/cmdline": Content(b"mdev\0-d\0")} if mdev else {},
        hotplug_rules.MDEV_CONF: Absent() if conf is None else Content(conf.encode()),
        hotplug_rules.VENDOR: Content(f"{vendor}\n".encode()),
        hotplug_rules.PRODUCT: Content(b"Virtual Machine\n"),
        kernel.MACHINE: Completed(0, b"x86_64\n", b""),
    }
    return Snapshot("app1", datetime(2026, 11, 22, tzinfo=UTC), answers)


def comes(inside: Snapshot) -> str:
    snapshot = look(APP1)
    found = Snapshot("hv1", snapshot.taken, snapshot.answers, {"app1": inside})
    return str(vcpus.comes_online(found, "app1").value)


ETC, LIB = "/etc/udev/rules.d/40-cpu.rules", "/usr/lib/udev/rules.d/40-cpu.rules"


@pytest.mark.parametrize(
    ("inside", "how"),
    [
        (guest({ETC: ONLINES}), "automatic"),
        (guest({LIB: REDHAT}), "automatic"),
        (guest({LIB: UBUNTU}), "by hand"),
        (guest({LIB: UBUNTU}, vendor="Xen"), "automatic"),
        (guest({LIB: UBUNTU}, vendor="Microsoft Corporation"), "automatic"),
        (guest({LIB: GUARDED}), "automatic"),
        (guest({LIB: f'PROGRAM=="maybe", GOTO="end"\n{ONLINES}\nLABEL="end"'}), "by hand"),
        (guest({LIB: f'PROGRAM=="maybe", GOTO="on"\n{ONLINES}\nLABEL="on"\n{ONLINES}'}), "automatic"),
        (guest({LIB: ONLINES.replace('"cpu"', '"memory"')}), "by hand"),
        (guest({LIB: f"# {ONLINES}"}), "by hand"),
        (guest({LIB: ONLINES.replace('{online}="1"', '{online}="0"')}), "by hand"),
        (guest({LIB: f'ENV{{x}}=="y", {ONLINES}'}), "by hand"),
        (guest({LIB: f'PROGRAM="/bin/false", {ONLINES}'}), "by hand"),
        (guest({LIB: f'IMPORT{{cmdline}}="hotplug", {ONLINES}'}), "by hand"),
        (guest({LIB: f'RESULT!="s390*", {ONLINES}'}), "by hand"),
        (guest({LIB: f'PROGRAM="/bin/uname -p", RESULT!="s390*", {ONLINES}'}), "automatic"),
        (guest({LIB: f'KERNEL==e"cpu9", {ONLINES}'}), "by hand"),
        (guest({LIB: f'GOTO="nowhere"\n{ONLINES}'}), "by hand"),
        (guest({LIB: ONLINES}, names=(ETC,)), "by hand"),
        (guest({LIB: ONLINES}, names=("/etc/udev/rules.d/41-other.rules",)), "automatic"),
        (guest(), "by hand"),
        (guest({ETC: ONLINES}, udev=False), "by hand"),
    ],
)
def test_rules_of_udev(inside: Snapshot, how: str) -> None:
    assert comes(inside) == how


@pytest.mark.parametrize(
    ("conf", "how"),
    [
        ("# all\n$SUBSYSTEM=cpu 0:0 660 @echo 1 >/sys$DEVPATH/online\n", "automatic"),
        ("SUBSYSTEM=cpu;.* 0:0 660 *echo 1 > /sys$DEVPATH/online\n", "automatic"),
        ("cpu[0-9]+ 0:0 660 @echo 1 >/sys$DEVPATH/online\n", "automatic"),
        (".* 0:0 660\n$SUBSYSTEM=cpu 0:0 660 @echo 1 >/sys$DEVPATH/online\n", "by hand"),
        ("$SUBSYSTEM=cpu 0:0 660 @echo 0 >/sys$DEVPATH/online\n", "by hand"),
        ("$SUBSYSTEM=cpu 0:0 660\n", "by hand"),
        ("", "by hand"),
        (None, "by hand"),
    ],
)
def test_lines_of_mdev(conf: str | None, how: str) -> None:
    assert comes(guest(udev=False, mdev=True, conf=conf)) == how


def test_lines_that_nobody_reads_bring_nothing() -> None:
    conf = "$SUBSYSTEM=cpu 0:0 660 @echo 1 >/sys$DEVPATH/online\n"
    assert comes(guest(udev=False, conf=conf)) == "by hand"


# --- the profile


def test_one_number_is_both() -> None:
    assert CpuWants.model_validate({"vcpus": 2}).vcpus == VcpuWants(maximum=2, current=2)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"maximum": 2, "current": 3}, "more than maximum"),
        ({"maximum": 2, "list": {2: {"enabled": True}}}, "names vCPU 2"),
        ({"current": 1, "list": {0: {"enabled": True}, 1: {"enabled": True}}}, "enables 2 vCPUs"),
        ({"list": {0: {"enabled": False}}}, "vCPU 0"),
        ({"list": {0: {"order": 2}}}, "vCPU 0"),
        ({"list": {1: {"order": 2}, 2: {"order": 2}}}, "the order 2"),
        ({"list": {1: {"enabled": False, "order": 2}}}, "has no order"),
        ({"list": {1: {"enabled": False, "hotpluggable": False}}}, "must be hotpluggable"),
        ({"placement": "auto", "cpuset": "0-1"}, "numad"),
        (0, "greater than or equal to 1"),
        (True, "valid"),
        ("2", "valid"),
    ],
)
def test_what_cannot_be(written: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CpuWants.model_validate({"vcpus": written})


def test_what_can_be() -> None:
    said = {"maximum": 4, "current": 3, "cpuset": "0-1", "list": {2: {"enabled": True, "order": 3}}}
    wants = CpuWants.model_validate({"vcpus": said}).vcpus
    assert wants == VcpuWants(maximum=4, current=3, cpuset=BOTH, list={2: Vcpu(enabled=True, order=3)})


# --- remedies


def test_offline_vcpus_are_brought_online() -> None:
    snapshot = look(APP1, {f"{INSIDE}/online": "0\n"})
    case = Case("app1/current", 3, ("app1", "current"))
    (change,) = remedy.plan_online(snapshot, case, None)  # type: ignore[arg-type]
    first = "/sys/devices/system/cpu/cpu1/online"
    assert str(change.steps[0].do) == f"hv1/app1$ tee {first} <<< '1\n'   # if {first} is there"
    assert str(change.undo[-1]) == f"hv1/app1$ tee {first} <<< '0\n'   # if {first} is there"
    assert len(change.steps) == 2


def test_vcpus_that_are_not_there_cannot_be_brought_online() -> None:
    with pytest.raises(CannotMend, match="setvcpus"):
        remedy.plan_online(look(APP1), Case("app1/current", 4, ("app1", "current")), None)  # type: ignore[arg-type]


def rule_for(inside: Snapshot) -> str:
    snapshot = look(APP1)
    found = Snapshot("hv1", snapshot.taken, snapshot.answers, {"app1": inside})
    (change,) = remedy.plan_rule(found, Case("app1", "automatic", ("app1",)), None)  # type: ignore[arg-type]
    return str(change.steps[0].do)


def test_udev_gets_a_rule_that_does_it() -> None:
    assert remedy.FILE in rule_for(guest())
    assert comes(guest({remedy.FILE: remedy.TEXT.strip()})) == "automatic"


def test_without_udev_a_rule_helps_nobody() -> None:
    with pytest.raises(CannotMend, match="udev"):
        rule_for(guest(udev=False, mdev=True))


# --- groups above, and threads in the wrong ones

SLICE = "/sys/fs/cgroup/machine.slice/machine-prod.slice"


@pytest.mark.parametrize(
    ("edits", "cpus"), [({}, float("inf")), ({"/sys/fs/cgroup/cpu/machine/cpu.cfs_quota_us": "160000\n"}, 1.6)]
)
def test_the_groups_above_leave_cpu_time(edits: dict[str, str | None], cpus: float) -> None:
    assert cpu_bandwidth.room(look(APP1, edits), "app1").value == cpus


@pytest.mark.parametrize(
    ("edits", "cpus"),
    [
        ({}, float("inf")),
        ({f"{SLICE}/cpu.max": "50000 100000\n"}, 0.5),
        ({f"{SLICE}/cpu.max": "50000 100000\n", "/sys/fs/cgroup/machine.slice/cpu.max": "20000 100000\n"}, 0.2),
    ],
)
def test_a_slice_above_is_tighter(edits: dict[str, str | None], cpus: float) -> None:
    assert cpu_bandwidth.room(look(V2, edits), "anchor").value == cpus


def test_a_vcpu_whose_cpu_went_off_and_on_is_in_the_group_above() -> None:
    """Defect 4 of cgroup v1, on the recorded v2 host (constructed): the thread is in libvirt/ itself."""
    path = "/proc/700/task/710/cgroup"
    found = placement.misplaced(look(V2, changed(V2, path, "/libvirt/vcpu0", "/libvirt")), "anchor", None)
    assert len(found.value) == 1


def test_a_process_in_another_blkio_group_is_misplaced() -> None:
    """What systemd does on cgroup v1 when a weight is set: every thread is in the slice."""
    own = "/machine/qemu-3-app1.libvirt-qemu"
    tids = (107, 120, 123, 128, 131, 134, 136, 140)
    edits = {}
    for tid in tids:
        edits |= changed(APP1, f"/proc/107/task/{tid}/cgroup", f":blkio:{own}\n", ":blkio:/machine\n")
    assert len(placement.misplaced(look(APP1, edits), "app1", None).value) == len(tids)
