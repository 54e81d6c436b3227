"""Mending real faults: a plan touches nothing, a try leaves nothing behind, a keep keeps only what was verified, and
whatever a run left, `virtvet undo` takes back. What is left behind the machine itself tells, not our own eyes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from tests.lab.conftest import PROFILE, TOP, Ended, virtvet_in
from tests.lab.faults import disks

MENDING = "/sys/fs/cgroup/*/machine/mending.partition"
CPUSET = "/sys/fs/cgroup/cpuset/machine"
VCPU0 = "/sys/fs/cgroup/cpuset/machine/openstack.partition/*-web1.*/vcpu0"
PINS = (
    f"cat {VCPU0}/cpuset.cpus; virsh dumpxml web1; virsh dumpxml --inactive web1; "
    "for t in /proc/$(cat /run/libvirt/qemu/web1.pid)/task/*; do "
    "grep -Eh '^(CPU|IO iothread|qemu)' $t/comm && grep Cpus_allowed_list $t/status; done"
)  # QEMU's workers come and go
TUNED = "virsh blkdeviotune app1 vda --live; virsh blkdeviotune app1 vda --config; virsh dumpxml app1 | grep _sec"
TUNE = "blkdeviotune app1 vda --read-bytes-sec 20971520 --write-bytes-sec 10485760 --total-iops-sec 500"
BURSTS = "--total-iops-sec-max 800 --total-iops-sec-max-length 2 --size-iops-sec 4096"
RETUNE = f"virsh -q {TUNE} {BURSTS} --live; virsh -q {TUNE} {BURSTS} --config"
REPIN = "virsh -q vcpupin web1 0 0 --live --config; virsh -q vcpupin web1 1 0-1 --live --config"
OPTIONS = "trans=virtio,version=9p2000.L,posixacl,cache=loose"
LINE = f"hostshare /mnt/share 9p {OPTIONS} 0 0"
MENDED = f"hostshare /mnt/share 9p {OPTIONS},rw 0 0"
# a directory's own time changes when one is made in it and removed again
SHARE = "cat /proc/mounts /etc/fstab; stat -c '%A %u:%g %n' /mnt /mnt/share; ls /etc"
MEMORY = "/sys/devices/system/memory"
BLOCKS = f"cat {MEMORY}/memory*/state {MEMORY}/auto_online_blocks; ls -R /etc/udev; cat /etc/udev/rules.d/*"
BLOCKS_BACK = (
    f"grep -q online {MEMORY}/memory32/state || echo online_movable >{MEMORY}/memory32/state; "
    f"echo online_movable >{MEMORY}/auto_online_blocks; rm -rf /etc/udev /run/udev"
)
RULE = 'SUBSYSTEM=="memory", ACTION=="add", TEST=="state", ATTR{state}=="offline", ATTR{state}="online"'
REMOUNT = (
    f"mkdir -p /mnt/share; echo '{LINE}' > /etc/fstab; grep -q ' /mnt/share 9p ' /proc/mounts || mount /mnt/share; "
    "sync; umount /mnt/other/deep 2>/dev/null; rm -rf /mnt/other"
)
CPU2 = "/sys/devices/system/cpu/cpu2/online"
CPUS = "cat /sys/devices/system/cpu/online; ls -R /etc/udev; cat /etc/udev/rules.d/*"
CPUS_BACK = f"echo 1 >{CPU2}; rm -rf /etc/udev /run/udev"
CPU_RULE = 'SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}!="1", ATTR{online}="1"'
SCHEDULED = (
    "for t in /proc/$(cat /run/libvirt/qemu/app1.pid)/task/*; do "
    "grep -Eh '^(CPU|IO iothread|qemu)' $t/comm && sed 's/.*) //' $t/stat | cut -d' ' -f38,39; done"
)
OF_APP1 = "if /proc/PID/task/N/cmdline says 'guest=app1,'"
STILL = "if /proc/PID/cmdline says 'app1'"
TAP = "ip -o link show dev app1lan | cut -d' ' -f2-"


@dataclass(frozen=True)
class Fault:
    """A departure, how it comes and goes, what shows the state it is about, and the exact plan that mends it."""

    name: str
    on: str
    breaks: str
    restores: str
    shows: str
    asks: tuple[str, ...]
    mends: str
    """The case that is mended: "CONTROL host/subject"."""
    plan: tuple[str, ...]


FAULTS = (
    Fault(
        name="a partition is missing in two controllers",
        on="hv1",
        breaks="for c in cpu cpuacct devices freezer blkio; do mkdir /sys/fs/cgroup/$c/machine/mending.partition; done",
        restores=f"for g in {MENDING}; do [ ! -d $g ] || rmdir $g; done",
        shows=f"ls -d {MENDING}; cat {MENDING}/cpuset.cpus {MENDING}/cpuset.mems 2>/dev/null || true",
        asks=("--area", "cgroup"),
        mends="PART-EXIST-1 hv1//machine/mending.partition",
        plan=(
            "create the partition /machine/mending.partition in cpuset, memory (risk: live)",
            "  hv1$ mkdir -- /sys/fs/cgroup/cpuset/machine/mending.partition",
            f"  hv1$ cp -- {CPUSET}/cpuset.cpus {CPUSET}/mending.partition/cpuset.cpus",
            f"  hv1$ cp -- {CPUSET}/cpuset.mems {CPUSET}/mending.partition/cpuset.mems",
            "  hv1$ mkdir -- /sys/fs/cgroup/memory/machine/mending.partition",
        ),
    ),
    Fault(
        name="the cpuset of a vCPU was changed behind libvirt's back",
        on="hv1",
        breaks=f"echo 0-1 > $(echo {VCPU0})/cpuset.cpus",
        restores=REPIN,
        shows=PINS,
        asks=("--control", "CPU-PIN-1", "--guest", "web1"),
        mends="CPU-PIN-1 hv1/web1/vcpu0",
        plan=("pin vcpu0 of web1 to CPUs 0 (risk: live)", "  hv1$ virsh vcpupin web1 0 0 --live"),
    ),
    Fault(
        name="a vCPU thread was moved by taskset",
        on="hv1",
        breaks="for t in /proc/$(cat /run/libvirt/qemu/web1.pid)/task/*; do "
        "grep -q '^CPU 1/' $t/comm && taskset -pc 0 ${t##*/}; done; true",
        restores=REPIN,
        shows=PINS,
        asks=("--control", "CPU-PIN-1", "--guest", "web1"),
        mends="CPU-PIN-1 hv1/web1/vcpu1",
        plan=("pin vcpu1 of web1 to CPUs 0-1 (risk: live)", "  hv1$ virsh vcpupin web1 1 0-1 --live"),
    ),
    Fault(
        name="a vCPU is pinned otherwise live and in the configuration",
        on="hv1",
        breaks="virsh -q vcpupin web1 0 1 --live; virsh -q vcpupin web1 0 0-1 --config",
        restores=REPIN,
        shows=PINS,
        asks=("--control", "CPU-PIN-1", "--guest", "web1"),
        mends="CPU-PIN-1 hv1/web1/vcpu0",
        plan=(
            "pin vcpu0 of web1 to CPUs 0 (risk: live)",
            "  hv1$ virsh vcpupin web1 0 0 --live",
            "  hv1$ virsh vcpupin web1 0 0 --config",
        ),
    ),
    Fault(
        name="the configuration has no pin of a vCPU",
        on="hv1",
        breaks="virsh dumpxml --inactive web1 | grep -v \"<vcpupin vcpu='0'\" > /run/web1.xml; "
        "virsh -q define /run/web1.xml; rm /run/web1.xml",
        restores=REPIN,
        shows=PINS,
        asks=("--control", "CPU-PIN-1", "--guest", "web1"),
        mends="CPU-PIN-1 hv1/web1/vcpu0",
        plan=("pin vcpu0 of web1 to CPUs 0 (risk: live)", "  hv1$ virsh vcpupin web1 0 0 --config"),
    ),
    Fault(
        name="a tap was taken out of its bridge",
        on="hv1",
        breaks="ip link set app1lan nomaster",
        restores="ip link set app1lan master virbr0 up",
        shows=TAP,
        asks=("--control", "NIC-DEV-3", "--guest", "app1"),
        mends="NIC-DEV-3 hv1/app1/net1/bridge",
        plan=(
            "make app1lan of app1 a port of virbr0 (risk: live)",
            f"  hv1$ ip link set dev app1lan master virbr0   # {STILL}",
        ),
    ),
    Fault(
        name="a tap was brought down",
        on="hv1",
        breaks="ip link set app1lan down",
        restores="ip link set app1lan master virbr0 up",
        shows=TAP,
        asks=("--control", "NIC-DEV-7", "--guest", "app1"),
        mends="NIC-DEV-7 hv1/app1/net1",
        plan=("bring app1lan of app1 up (risk: live)", f"  hv1$ ip link set dev app1lan up   # {STILL}"),
    ),
    Fault(
        name="a disk's limit was raised behind libvirt's back",
        on="hv1",
        breaks=disks.THROTTLES[0].breaks,
        restores=RETUNE,
        shows=TUNED,
        asks=("--control", "IOTUNE-1", "--guest", "app1"),
        mends="IOTUNE-1 hv1/app1/vda/read_bytes",
        plan=(
            "give the disk vda of app1 its limits (risk: live)",
            f"  hv1$ virsh {TUNE} {BURSTS} --live   # and no other limit",
        ),
    ),
    Fault(
        name="a disk has another limit live, and none in the configuration",
        on="hv1",
        breaks=f"virsh -q {TUNE.replace('20971520', '30000000')} {BURSTS} --live; "
        "virsh dumpxml --inactive app1 | sed '/<read_bytes_sec>20/d' >/run/app1.xml; "
        "virsh -q define /run/app1.xml; rm /run/app1.xml",
        restores=RETUNE,
        shows=TUNED,
        asks=("--control", "IOTUNE-1", "--guest", "app1"),
        mends="IOTUNE-1 hv1/app1/vda/read_bytes",
        plan=(
            "give the disk vda of app1 its limits (risk: live)",
            f"  hv1$ virsh {TUNE} {BURSTS} --live   # and no other limit",
            f"  hv1$ virsh {TUNE} {BURSTS} --config   # and no other limit",
        ),
    ),
    Fault(
        name="the share is neither mounted nor in fstab, and has no directory",
        on="hv1/db1",
        breaks="umount /mnt/share; rmdir /mnt/share; printf '# nothing\\n/dev/vda / ext4 defaults 0 1' > /etc/fstab",
        restores=REMOUNT,
        shows=SHARE,
        asks=("--area", "shares", "--guest", "db1"),
        mends="SHARE-MOUNT-1 hv1/db1/hostshare",
        plan=(
            "mount the share hostshare at /mnt/share in db1 (risk: live)",
            "  hv1/db1$ mkdir /mnt/share",
            f"  hv1/db1$ mount -t 9p -o {OPTIONS},rw hostshare /mnt/share",
            "  --- hv1/db1:/etc/fstab",
            "  +++ hv1/db1:/etc/fstab",
            f"  +{MENDED}",
        ),
    ),
    Fault(
        name="fstab mounts the share with another cache mode",
        on="hv1/web1",
        breaks="sed -i s/cache=loose/cache=mmap/ /etc/fstab",
        restores=REMOUNT,
        shows=SHARE,
        asks=("--area", "shares", "--guest", "web1"),
        mends="SHARE-BOOT-2 hv1/web1/hostshare/cache",
        plan=(
            "mount the share hostshare at /mnt/share in web1 (risk: live)",
            "  --- hv1/web1:/etc/fstab",
            "  +++ hv1/web1:/etc/fstab",
            f"  -{LINE.replace('loose', 'mmap')}",
            f"  +{MENDED}",
        ),
    ),
    Fault(
        name="a vCPU is plugged in, but offline in the guest",
        on="hv1/app1",
        breaks=f"echo 0 >{CPU2}",
        restores=CPUS_BACK,
        shows=CPUS,
        asks=("--control", "CPU-VCPU-2", "--guest", "app1"),
        mends="CPU-VCPU-2 hv1/app1/current",
        plan=(
            "bring vCPUs online in app1 (risk: live)",
            f"  hv1/app1$ tee {CPU2} <<< '1",
            f"  '   # if {CPU2} is there",
        ),
    ),
    Fault(
        name="plugged vCPUs stay offline: udev has no rule for them",  # the guest has no udev: only its socket
        on="hv1/app1",
        breaks="mkdir -p /etc/udev/rules.d /run/udev; >/run/udev/control",
        restores=CPUS_BACK,
        shows=CPUS,
        asks=("--control", "CPU-VCPU-6", "--guest", "app1"),
        mends="CPU-VCPU-6 hv1/app1",
        plan=(
            "have udev bring new vCPUs online in app1 (risk: live)",
            "  --- hv1/app1:/etc/udev/rules.d/40-virtvet-cpu.rules",
            "  +++ hv1/app1:/etc/udev/rules.d/40-virtvet-cpu.rules",
            "  @@ -0,0 +1 @@",
            f"  +{CPU_RULE}",
        ),
    ),
    Fault(
        name="an iothread that was plugged in has inherited the emulator's scheduler",
        on="hv1",
        breaks="virsh -q iothreadadd app1 2 --live",
        restores="virsh -q iothreaddel app1 2 --live",
        shows=SCHEDULED,
        asks=("--control", "CPU-SCHED-4", "--guest", "app1"),
        mends="CPU-SCHED-4 hv1/app1/others",
        plan=("let app1/others run as other (risk: live)", f"  hv1$ chrt --other -p 0 N   # {OF_APP1}"),
    ),
    Fault(
        name="a memory block is offline in the guest",
        on="hv1/app1",
        breaks=f"echo offline >{MEMORY}/memory32/state",
        restores=BLOCKS_BACK,
        shows=BLOCKS,
        asks=("--control", "MEM-ONLINE-1", "--guest", "app1"),
        mends="MEM-ONLINE-1 hv1/app1",
        plan=(
            "bring memory online in app1 (risk: live)",
            f"  hv1/app1$ tee {MEMORY}/memory32/state <<< 'online_movable",
            f"  '   # if {MEMORY}/memory32/state says 'offline'",
        ),
    ),
    Fault(
        name="plugged memory stays offline, and no udevd runs",
        on="hv1/app1",
        breaks=f"echo offline >{MEMORY}/auto_online_blocks",
        restores=BLOCKS_BACK,
        shows=BLOCKS,
        asks=("--control", "MEM-ONLINE-2", "--guest", "app1"),
        mends="MEM-ONLINE-2 hv1/app1",
        plan=(
            "have the kernel of app1 bring plugged memory online (risk: live)",
            f"  hv1/app1$ tee {MEMORY}/auto_online_blocks <<< 'online_movable",
            "  '",
        ),
    ),
    Fault(
        name="plugged memory stays offline, and udev has no rule for it",  # the guest has no udev: only its socket
        on="hv1/app1",
        breaks=f"echo offline >{MEMORY}/auto_online_blocks; mkdir -p /etc/udev/rules.d /run/udev; >/run/udev/control",
        restores=BLOCKS_BACK,
        shows=BLOCKS,
        asks=("--control", "MEM-ONLINE-2", "--guest", "app1"),
        mends="MEM-ONLINE-2 hv1/app1",
        plan=(
            "have udev bring plugged memory online in app1 (risk: live)",
            "  --- hv1/app1:/etc/udev/rules.d/99-hotplug-memory.rules",
            "  +++ hv1/app1:/etc/udev/rules.d/99-hotplug-memory.rules",
            "  @@ -0,0 +1 @@",
            f"  +{RULE}",
        ),
    ),
)


@dataclass
class Broken:
    """A fault on the lab, and `virtvet` asked about it."""

    fault: Fault
    shell: Callable[[str], str]
    ask: Callable[..., Ended]
    undo: Callable[[str], subprocess.CompletedProcess[str]]

    @property
    def state(self) -> str:
        """What the machine itself says."""
        return self.shell(self.fault.shows)


@contextmanager
def broken(fault: Fault, lab: Lab, folder: Path) -> Iterator[Broken]:
    """The fault, there and gone again; what is written meanwhile stays in this folder."""
    machine = lab.guests[fault.on] if "/" in fault.on else lab.hosts[fault.on]
    virtvet, profile = virtvet_in(folder, lab), folder / "mending.yaml"
    # the lab's, with a partition that no guest is in
    profile.write_text(f"virtvet: 1\nextends: {PROFILE}\nhost: {{partitions: {{/machine/mending.partition: {{}}}}}}\n")

    def ask(*arguments: str, **more: Any) -> Ended:
        selected = ("-H", fault.on.partition("/")[0], *fault.asks)
        return virtvet(*selected, *arguments, **{"profile": profile, **more})

    def undo(run: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "virtvet", "undo", run, "--reports", str(folder / "reports")]
        environment = {**os.environ, "PYTHONPATH": str(TOP / "src")}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    try:
        machine.sh(f"set -e; {fault.breaks}")
        yield Broken(fault, lambda script: machine.sh(script, check=False).stdout, ask, undo)
    finally:
        machine.sh(fault.restores, check=False)


@pytest.fixture
def unmounted(lab: Lab, tmp_path: Path) -> Iterator[Broken]:
    with broken(next(one for one in FAULTS if one.on == "hv1/db1"), lab, tmp_path) as fault:
        yield fault


def mendings(ended: Ended) -> dict[str, dict[str, Any]]:
    """What was done, by case."""
    results = ended.run["results"]
    return {f"{one['control']} {one['host']}/{one['subject']}": one["mending"] for one in results if one["mending"]}


def steady(line: str) -> str:
    """Without what each start of a guest numbers anew."""
    return re.sub(r"(task/|-p 0 )\d+", r"\1N", re.sub(r"/proc/\d+/", "/proc/PID/", line))


def journals(ended: Ended) -> list[Path]:
    return sorted(ended.reports.glob("2*/journal.jsonl"))


def plan(fault: Broken) -> None:
    before = fault.state
    ended = fault.ask("--fix=plan")
    assert fault.state == before
    mending = mendings(ended)[fault.fault.mends]
    assert (ended.code, mending["outcome"]) == (1, "planned")
    assert tuple(steady(line) for line in mending["changes"]) == fault.fault.plan
    assert journals(ended) == []


def attempt(fault: Broken) -> None:
    before = fault.state
    ended = fault.ask("--fix=try")
    assert fault.state == before
    assert mendings(ended)[fault.fault.mends]["outcome"] == "tried"
    assert (ended.code, ended.outcomes[fault.fault.mends]) == (1, "failed")
    assert "nothing to undo" in fault.undo("latest").stdout


def keep_and_undo(fault: Broken) -> None:
    before = fault.state
    first = fault.ask("--fix=keep")
    assert {case: one["outcome"] for case, one in mendings(first).items()} == {fault.fault.mends: "kept"}
    assert (first.code, first.outcomes[fault.fault.mends]) == (0, "passed"), first.out
    after, (journal,) = fault.state, journals(first)
    second = fault.ask("--fix=keep")
    assert (second.code, mendings(second), fault.state, journals(second)) == (0, {}, after, [journal])
    undone = fault.undo(journal.parent.name)
    assert (undone.returncode, fault.state) == (0, before), undone.stdout + undone.stderr
    assert "nothing to undo" in fault.undo(journal.parent.name).stdout


def killed_and_undone(fault: Broken, crash: str) -> None:
    before = fault.state
    killed = fault.ask(
        "--fix=keep", "--", "-p", "tests.lab.crash_plugin", PYTHONPATH=f"{TOP / 'src'}:{TOP}", CRASH=crash
    )
    assert killed.code == -signal.SIGKILL, killed.out + killed.err
    assert (fault.state == before) is (crash == "planned")
    (journal,) = journals(killed)
    undone = fault.undo(journal.parent.name)
    assert (undone.returncode, fault.state) == (0, before), undone.stdout + undone.stderr


ACTS: Mapping[str, Callable[[Broken], None]] = {
    "a plan says exactly what and touches nothing": plan,
    "a try leaves nothing behind": attempt,
    "what is kept was verified and undo takes it back": keep_and_undo,
    "killed before a change it is undone": partial(killed_and_undone, crash="planned"),
    "killed after a change it is undone": partial(killed_and_undone, crash="applied"),
}


@pytest.fixture(scope="module")
def acts(
    lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[tuple[str, str], Future[None]]]:
    """Those that were selected, under way: app1's one after the other, and beside them all that is not app1's."""

    def play(act: str, fault: Fault, folder: Path) -> None:
        with broken(fault, lab, folder) as one:
            ACTS[act](one)

    calls = [
        item.callspec.params
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    ]
    with ThreadPoolExecutor(1) as of_app1, ThreadPoolExecutor(1) as of_others:
        under_way = {}
        for act, fault in ((call["act"], call["fault"]) for call in calls):
            pool = of_app1 if "app1" in fault.mends else of_others
            under_way[act, fault.name] = pool.submit(play, act, fault, tmp_path_factory.mktemp("mending"))
        yield under_way
        for one in under_way.values():
            one.cancel()


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_real_faults_are_mended(act: str, fault: Fault, acts: Mapping[tuple[str, str], Future[None]]) -> None:
    acts[act, fault.name].result()


def test_a_kept_share_survives_a_reset_of_the_guest(unmounted: Broken, lab: Lab) -> None:
    assert unmounted.ask("--fix=keep").code == 0
    guest = lab.guests["hv1/db1"]
    guest.virsh("reset")
    guest.wait()
    ended = unmounted.ask()
    assert (ended.code, ended.outcomes[unmounted.fault.mends]) == (0, "passed"), ended.out


def test_half_a_change_is_taken_back(unmounted: Broken, tmp_path: Path) -> None:
    """A tag that the host does not offer: two directories are made, then the mount fails."""
    share = "{source: /srv/share, mount: {at: /mnt/other/deep, persistent: true}}"
    profile = tmp_path / "other.yaml"
    profile.write_text(f"virtvet: 1\nguests: {{db1: {{shares: {{nosuchtag: {share}}}}}}}\n")
    before = unmounted.state
    ended = unmounted.ask("--fix=keep", profile=profile)
    assert (ended.code, unmounted.state) == (23, before), ended.out
    outcome = mendings(ended)["SHARE-MOUNT-1 hv1/db1/nosuchtag"]["outcome"]
    assert outcome.startswith("undone: hv1/db1$ mount -t 9p")
