"""What each remedy would do, from recorded looks: exact plans, exact ways back, and refusals with their reason."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.looks import ANCHOR, V1, V2, WEB1, Edits, changed, look, pid, thread
from virtvet.check import Case
from virtvet.errors import CannotLook
from virtvet.expect import NotEmpty
from virtvet.probes import kernel, mounts
from virtvet.profile.shares import Mount, Share
from virtvet.remedies import partitions, pins, shares
from virtvet.remedies.change import CHANGE, CannotMend, Change
from virtvet.remedies.operations import Run, without_pin
from virtvet.snapshot.model import Absent, Answer, Content, Domain, LibvirtAnswer, Snapshot, Status
from virtvet.snapshot.sources import Libvirt, Source, Stat

UUID = "7f3c0000-0000-4000-8000-000000000101"
CPUSET = f"/sys/fs/cgroup/cpuset{WEB1}/vcpu0/cpuset.cpus"
LIVE, CONFIG = "virsh dumpxml web1", "virsh dumpxml --inactive web1"
PIN0 = "<vcpupin vcpu='0' cpuset='0'/>"
NO_TARGET: Any = None
TASK = f"/proc/{pid(V1, 'web1')}/task"
VCPU0, IOTHREAD = (thread(V1, "web1", comm) for comm in ("CPU 0/TCG", "IO iothread1"))


def lines(change: Change) -> list[str]:
    """What is done, then what takes it back."""
    return [*(str(step.do) for step in change.steps), "--", *map(str, change.undo)]


def affinity(tid: int, cpus: str) -> str:
    return f"hv1$ taskset -pc {cpus} {tid}   # if {TASK}/{tid}/cgroup says '{WEB1}'"


# --- pins


def repin(edits: Edits, role: str, *cpus: int, look_at: str = V1) -> tuple[Change, ...]:
    wanted = frozenset(cpus)
    return pins.plan(look(look_at, edits), Case(f"web1/{role}", wanted, ("web1", role, wanted)), NO_TARGET)


PLANS: dict[str, tuple[dict[str, str | None], str, tuple[int, ...], list[str]]] = {
    "all is well": ({}, "vcpu0", (0,), []),
    "the group alone was changed": (
        {CPUSET: "0-1\n"},
        "vcpu0",
        (0,),
        [
            "hv1$ virsh vcpupin web1 0 0 --live",
            "--",
            "hv1$ virsh vcpupin web1 0 0 --live",
            f"hv1$ tee {CPUSET} <<< '0-1\n'   # if {CPUSET} is there",
            affinity(VCPU0, "0"),
        ],
    ),
    "every layer must change": (
        {},
        "vcpu0",
        (1,),
        [
            "hv1$ virsh vcpupin web1 0 1 --live",
            "hv1$ virsh vcpupin web1 0 1 --config",
            "--",
            "hv1$ virsh vcpupin web1 0 0 --config",
            "hv1$ virsh vcpupin web1 0 0 --live",
            affinity(VCPU0, "0"),
        ],
    ),
    "the configuration has no pin": (
        changed(V1, CONFIG, PIN0, ""),
        "vcpu0",
        (0,),
        ["hv1$ virsh vcpupin web1 0 0 --config", "--", "hv1$ virsh edit web1   # without the pin of vcpu0"],
    ),
    "an iothread": (
        {},
        "iothread1",
        (0,),
        [
            "hv1$ virsh iothreadpin web1 1 0 --live",
            "hv1$ virsh iothreadpin web1 1 0 --config",
            "--",
            "hv1$ virsh iothreadpin web1 1 1 --config",
            "hv1$ virsh iothreadpin web1 1 1 --live",
            affinity(IOTHREAD, "1"),
        ],
    ),
    "a guest that is shut off": (
        {LIVE: None},
        "vcpu0",
        (1,),
        ["hv1$ virsh vcpupin web1 0 1 --config", "--", "hv1$ virsh vcpupin web1 0 0 --config"],
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_pins(name: str) -> None:
    edits, role, cpus, expected = PLANS[name]
    assert [line for change in repin(edits, role, *cpus) for line in lines(change)] == expected


def test_a_pin_of_a_thread_the_guest_does_not_have() -> None:
    with pytest.raises(CannotMend, match="has no vcpu7"):
        repin({}, "vcpu7", 0)


def test_what_cgroup_v2_was_told_behind_libvirts_back_is_not_known() -> None:
    thread = changed(V2, "/proc/700/task/711/status", "Cpus_allowed_list:\t1,3", "Cpus_allowed_list:\t1")
    edits = {f"{ANCHOR}/libvirt/vcpu1/cpuset.cpus.effective": "1\n", **thread}
    wanted = frozenset({1, 3})
    case = Case("anchor/vcpu1", wanted, ("anchor", "vcpu1", wanted))
    with pytest.raises(CannotMend, match="cgroup v2"):
        pins.plan(look(V2, edits), case, NO_TARGET)


def test_only_the_named_pin_leaves_the_configuration() -> None:
    xml = f"<domain><cputune>{PIN0}<vcpupin vcpu='1' cpuset='1'/><emulatorpin cpuset='0'/></cputune></domain>"
    assert (without_pin(xml, "vcpu0") or "").replace('"', "'") == xml.replace(PIN0, "")
    assert without_pin(xml, "iothread1") is None


# --- partitions


def create(partition: str, *controllers: str, look_at: str = V1) -> tuple[Change, ...]:
    return partitions.plan(look(look_at), Case(partition, frozenset(controllers), (partition, controllers)), NO_TARGET)


def test_a_partition_is_created_where_it_is_missing_with_those_above_it() -> None:
    (change,) = create("/machine/a/b", "memory", "cpuset")
    memory, cpuset = "/sys/fs/cgroup/memory/machine/a.partition", "/sys/fs/cgroup/cpuset/machine/a.partition"
    assert change.title == "create the partition /machine/a/b in memory, cpuset"
    assert [str(step.do).removeprefix("hv1$ ") for step in change.steps] == [
        f"mkdir -- {memory}",
        f"mkdir -- {memory}/b.partition",
        f"mkdir -- {cpuset}",
        f"cp -- /sys/fs/cgroup/cpuset/machine/cpuset.cpus {cpuset}/cpuset.cpus",
        f"cp -- /sys/fs/cgroup/cpuset/machine/cpuset.mems {cpuset}/cpuset.mems",
        f"mkdir -- {cpuset}/b.partition",
        f"cp -- {cpuset}/cpuset.cpus {cpuset}/b.partition/cpuset.cpus",
        f"cp -- {cpuset}/cpuset.mems {cpuset}/b.partition/cpuset.mems",
    ]
    made = (f"{cpuset}/b.partition", cpuset, f"{memory}/b.partition", memory)
    assert [operation.argv for operation in change.undo if isinstance(operation, Run)] == [
        ("rmdir", "--", one) for one in made
    ]


def test_a_partition_that_is_there_needs_nothing() -> None:
    assert create("/machine/openstack.partition", "memory", "cpuset") == ()


@pytest.mark.parametrize(
    ("look_at", "controller", "reason"), [(V1, "hugetlb", "no controller hugetlb"), (V2, "memory", "systemd's slices")]
)
def test_a_partition_that_no_directory_makes(look_at: str, controller: str, reason: str) -> None:
    with pytest.raises(CannotMend, match=reason):
        create("/machine/new", controller, look_at=look_at)


@pytest.mark.parametrize(
    ("expected", "do"),
    [
        (NotEmpty(), "cp -- /sys/fs/cgroup/cpuset/machine/cpuset.cpus {path}"),
        (frozenset({0}), "tee {path} <<< '0\n'"),
    ],
)
def test_an_empty_cpuset_is_filled(expected: object, do: str) -> None:
    path = "/sys/fs/cgroup/cpuset/machine/openstack.partition/cpuset.cpus"
    case = Case("/machine/openstack.partition cpus", expected, ("/machine/openstack.partition", "cpus"))
    (change,) = partitions.plan_filling(look(V1, {path: "\n"}), case, NO_TARGET)
    assert lines(change) == [f"hv1$ {do.format(path=path)}", "--", f"hv1$ tee {path} <<< '\n'   # if {path} is there"]


# --- shares


LINE = "hostshare /mnt/share 9p trans=virtio,version=9p2000.L,cache=loose 0 0"
MOUNTED = "hostshare /mnt/share 9p rw,relatime,loose,access=client,trans=virtio 0 0\n"
DIRECTORY = Status("directory", 0o755, "root", "root", 0, 0, 4096)
MOUNT = "hv1/db1$ mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose hostshare /mnt/share"
UMOUNT = "hv1/db1$ umount /mnt/share   # if /proc/mounts says ' /mnt/share 9p '"
MKDIR = "hv1/db1$ mkdir /mnt/share"
RMDIR = "hv1/db1$ rmdir /mnt/share   # if /mnt/share is there"


def inside(proc_mounts: str, fstab: str | None, *there: str) -> Snapshot:
    """A guest with these mounts, this fstab and these directories."""
    answers: dict[Source, Answer] = {
        mounts.MOUNTS: Content(proc_mounts.encode()),
        mounts.FSTAB: Absent() if fstab is None else Content(fstab.encode("utf-8", "surrogateescape")),
        mounts.SYSTEMD: Absent(),
        kernel.OSRELEASE: Content(b"6.1.0-30-amd64\n"),
        **{Stat(path): DIRECTORY if path in there else Absent() for path in ("/mnt", "/mnt/share")},
    }
    moment = datetime(2026, 11, 22, tzinfo=UTC)
    domain = Domain("db1", "", "running", True, None, None)
    known = LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "", {"db1": domain})
    return Snapshot("hv1", moment, {Libvirt(): known}, {"db1": Snapshot("hv1/db1", moment, answers)})


def mount(snapshot: Snapshot, persistent: bool | None = True) -> tuple[Change, ...]:
    share = Share(source="/srv", mount=Mount(at="/mnt/share", version="9p2000.L", cache="loose", persistent=persistent))
    guest = SimpleNamespace(wants=SimpleNamespace(shares={"hostshare": share}))
    target: Any = SimpleNamespace(guests_by_name=lambda: {"db1": guest})
    return shares.plan(snapshot, Case("db1/hostshare", "9p", ("db1", "/mnt/share")), target)


FILE = "--- hv1/db1:/etc/fstab\n+++ hv1/db1:/etc/fstab\n"
SHARES: dict[str, tuple[Snapshot, list[str]]] = {
    "all is well": (inside(MOUNTED, LINE, "/mnt", "/mnt/share"), []),
    "nothing is there": (
        inside("", "", "/mnt"),
        [MKDIR, MOUNT, f"{FILE}+{LINE}", "--", f"{FILE}-{LINE}", UMOUNT, RMDIR],
    ),
    "only the mount is missing": (inside("", LINE, "/mnt", "/mnt/share"), [MOUNT, "--", UMOUNT]),
    "only the line is missing": (inside(MOUNTED, "# nothing\n"), [f"{FILE}+{LINE}", "--", f"{FILE}-{LINE}"]),
    "the line is otherwise": (
        inside(MOUNTED, f"a /b ext4\n{LINE.replace('loose', 'none')}\n"),
        [
            f"{FILE}-{LINE.replace('loose', 'none')}\n+{LINE}",
            "--",
            f"{FILE}-{LINE}\n+{LINE.replace('loose', 'none')}",
        ],
    ),
    "the line is not for the boot": (
        inside(MOUNTED, LINE.replace("loose", "loose,noauto")),
        [
            f"{FILE}-{LINE.replace('loose', 'loose,noauto')}\n+{LINE}",
            "--",
            f"{FILE}-{LINE}\n+{LINE.replace('loose', 'loose,noauto')}",
        ],
    ),
    "another line is no text": (
        inside(MOUNTED, "# caf\udce9\n"),
        [f"{FILE}+{LINE}", "--", f"{FILE}-{LINE}"],
    ),
    "there is no fstab": (
        inside(MOUNTED, None),
        [f"{FILE}@@ -0,0 +1 @@\n+{LINE}", "--", f"{FILE}@@ -1 +0,0 @@\n-{LINE}"],
    ),
}


@pytest.mark.parametrize("name", SHARES)
def test_shares(name: str) -> None:
    snapshot, expected = SHARES[name]
    assert [line for change in mount(snapshot) for line in lines(change)] == expected


def test_a_share_whose_next_boot_nobody_asked_about_is_only_mounted() -> None:
    (change,) = mount(inside("", "", "/mnt", "/mnt/share"), persistent=None)
    assert lines(change) == [MOUNT, "--", UMOUNT]


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (inside("tmpfs /mnt/share tmpfs rw 0 0\n", LINE), "umount it first"),
        (inside(MOUNTED, "a /mnt/share ext4\nb /mnt/share ext4\n"), "2 lines"),
    ],
    ids=["something else is mounted", "fstab contradicts itself"],
)
def test_a_share_that_cannot_be_mended(snapshot: Snapshot, reason: str) -> None:
    with pytest.raises(CannotMend, match=reason):
        mount(snapshot)


def test_a_look_without_the_directories_is_no_ground_for_a_plan() -> None:
    snapshot = inside("", "")
    guest = snapshot.guests["db1"]
    blind = Snapshot("hv1/db1", guest.taken, {one: said for one, said in guest.answers.items() if one != Stat("/mnt")})
    with pytest.raises(CannotLook, match="was not asked"):
        mount(Snapshot("hv1", snapshot.taken, snapshot.answers, {"db1": blind}))


@pytest.mark.parametrize("change", [*repin({}, "vcpu0", 1), *create("/machine/a", "cpuset"), *mount(inside("", ""))])
def test_plans_survive_the_journal(change: Change) -> None:
    assert CHANGE.validate_json(CHANGE.dump_json(change)) == change
