"""Which thread is what, from libvirt's own files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.looks import V1, V2, V2_TUNED, WEB1, Edits, by_hand, changed, comms, look, pid, recorded, thread
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import threads
from virtvet.snapshot.model import Snapshot, Unreadable

NAMED = {"CPU 0/TCG": "vcpu0", "CPU 1/TCG": "vcpu1", "IO iothread1": "iothread1"}
ROLES = {tid: NAMED.get(comm, "emulator") for tid, comm in comms(V1, "web1").items()}
TASK = f"/proc/{pid(V1, 'web1')}/task"
OTHER, VCPU0, VCPU1 = (thread(V1, "web1", comm) for comm in ("IO mon_iothread", "CPU 0/TCG", "CPU 1/TCG"))


def roles(name: str, guest: str, edits: Edits | None = None) -> dict[int, str]:
    return {one.tid: one.role for one in threads.threads(look(name, edits), guest)}


def hand(name: str, edits: Edits | None = None) -> Snapshot:
    """The process of web1, as if somebody had started it without libvirt with this -name."""
    named = changed(V1, "qemu.ARGUMENTS", "guest=web1,debug-threads=on", name)
    return look(V1, by_hand(V1, "web1") | named | dict(edits or {}))


def in_role(snapshot: Snapshot, guest: str, role: str) -> list[threads.Thread]:
    return [one for one in threads.threads(snapshot, guest) if one.role == role]


def test_vcpus_are_known_by_id_and_iothreads_by_name() -> None:
    assert roles(V1, "web1") == ROLES


def test_a_monitor_thread_is_no_iothread_and_an_iothreads_worker_is() -> None:
    found = roles(V2, "anchor")
    assert (found[705], found[720]) == ("emulator", "iothread1")


@pytest.mark.parametrize(("comm", "role"), [("kvm-nx-lpage-re", "vcpu1"), ("worker", "emulator")])
def test_kvms_own_thread_is_where_the_vcpu_is_that_made_it(comm: str, role: str) -> None:
    group = "0::/machine.slice/machine-prod.slice/machine-qemu\\x2d1\\x2danchor.scope/libvirt/vcpu1\n"
    edits = {"/proc/700/task/720/comm": f"{comm}\n", "/proc/700/task/720/cgroup": group}
    assert roles(V2, "anchor", edits)[720] == role


def test_a_name_alone_makes_no_vcpu() -> None:
    assert roles(V1, "web1", {f"{TASK}/{OTHER}/comm": "CPU 0/TCG\n"}) == ROLES


def test_membership_alone_makes_no_role() -> None:
    group = f"1:cpu:{WEB1}/iothread1\n"
    assert roles(V1, "web1", {f"{TASK}/{OTHER}/cgroup": group}) == ROLES


@pytest.mark.parametrize("name", ["stat", "cgroup", "comm", "status"])
def test_a_thread_that_ended_meanwhile_is_left_out(name: str) -> None:
    assert OTHER not in roles(V1, "web1", {f"{TASK}/{OTHER}/{name}": None})


def test_single_threaded_tcg_has_no_vcpu_threads() -> None:
    one = {"/run/libvirt/qemu/web1.xml": "<vcpu id='0' pid='0'/>\n"}
    assert "vcpu0" not in roles(V1, "web1", one).values()


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ({"/run/libvirt/qemu/web1.pid": None}, "does not exist"),
        ({"/run/libvirt/qemu/web1.pid": ""}, "no process id"),
        ({"/run/libvirt/qemu/web1.pid": "-1"}, "no process id"),
        ({"/run/libvirt/qemu/web1.pid": "٣"}, "no process id"),
        ({"/run/libvirt/qemu/web1.pid": "1"}, "no QEMU process"),
        ({"/run/libvirt/qemu/web1.xml": None}, "does not exist"),
        ({"/run/libvirt/qemu/web1.xml": ""}, "names no vCPU"),
    ],
)
def test_what_cannot_be_told_is_an_error(edits: Edits, reason: str) -> None:
    with pytest.raises(CannotLook, match=reason):
        roles(V1, "web1", edits)


def test_a_guest_that_is_shut_off_has_none() -> None:
    with pytest.raises(NotApplicable, match="shut off"):
        roles(V1, "web1", {"virsh dumpxml web1": None})


def test_an_unknown_guest_is_an_error() -> None:
    with pytest.raises(CannotLook, match="no such domain"):
        roles(V1, "nobody")


def test_affinity_is_a_set_with_its_line() -> None:
    thread = in_role(look(V2), "anchor", "vcpu1")[0]
    reading = threads.allowed(look(V2), thread)
    assert reading.value == {1, 3}
    assert reading.excerpt == "Cpus_allowed_list:\t1,3"


def test_a_status_without_affinity_is_an_error() -> None:
    snapshot = look(V1, {f"{TASK}/{VCPU0}/status": "Name:\tCPU 0/TCG\n"})
    with pytest.raises(CannotLook):
        threads.allowed(snapshot, in_role(snapshot, "web1", "vcpu0")[0])


def test_only_a_running_thread_is_on_a_cpu() -> None:
    seen = {one.tid: threads.running_on(look(V2), one) for one in threads.threads(look(V2), "anchor")}
    assert {tid: reading.value for tid, reading in seen.items() if reading} == {710: {1}}


def test_a_thread_may_name_itself_as_it_likes() -> None:
    edit = changed(V2, "/proc/700/task/710/stat", "(CPU 0/KVM)", "(a) R 1 (b)")
    thread = in_role(look(V2), "anchor", "vcpu0")[0]
    reading = threads.running_on(look(V2, edit), thread)
    assert reading is not None
    assert reading.value == {1}


def test_a_short_stat_is_an_error() -> None:
    thread = in_role(look(V2), "anchor", "vcpu0")[0]
    with pytest.raises(CannotLook):
        threads.running_on(look(V2, {"/proc/700/task/710/stat": "710 (CPU 0/KVM) R 1"}), thread)


@pytest.mark.parametrize("name", ["hand,debug-threads=on", "guest=hand,debug-threads=on"])
def test_of_a_guest_started_by_hand_vcpus_are_known_by_name(name: str) -> None:
    assert {one.tid: one.role for one in threads.threads(hand(name), "hand")} == ROLES


def test_without_names_nothing_says_which_thread_is_which() -> None:
    for name in ("hand", "hand,debug-threads=off"):
        with pytest.raises(NotApplicable, match="by hand, without debug-threads=on"):
            threads.threads(hand(name), "hand")


def test_one_thread_of_all_vcpus_is_none_of_theirs() -> None:
    one = {f"{TASK}/{VCPU0}/comm": "ALL CPUs/TCG\n", f"{TASK}/{VCPU1}/comm": "CPU x/TCG\n"}
    found = threads.threads(hand("hand,debug-threads=on", one), "hand")
    assert {thread.role for thread in found if thread.tid in (VCPU0, VCPU1)} == {"emulator"}


def test_a_process_that_ended_is_an_error_by_hand_too() -> None:
    gone = replace(hand("hand,debug-threads=on"), by_hand={"hand": 1})
    with pytest.raises(CannotLook, match="no QEMU process 1 that we may read"):
        threads.threads(gone, "hand")


def test_threads_of_a_process_that_libvirt_does_not_know_are_known_by_name() -> None:
    roles = {thread.role for thread in threads.of_process(look(V2), 700)}
    assert roles == {"vcpu0", "vcpu1", "emulator", "iothread1"}
    unnamed = changed(V2, "/proc/700/task/710/comm", "CPU 0/KVM", "qemu-system-x86")
    assert "vcpu0" not in {thread.role for thread in threads.of_process(look(V2, unnamed), 700)}


def test_nodes_and_memory_of_a_process() -> None:
    thread = in_role(look(V1), "web1", "vcpu0")[0]
    assert threads.nodes(look(V1), thread).value == {0}
    main, status = pid(V1, "web1"), f"{TASK}/{pid(V1, 'web1')}/status"
    assert threads.resident(look(V1, {status: "VmRSS:\t  154336 kB\n"}), main).value == 158040064
    with pytest.raises(CannotLook, match="VmRSS"):
        threads.resident(look(V1, {status: "Name:\tqemu-system-x86\n"}), main)


# --- the kernel's

TUNED, NIC = (pid(V2_TUNED, guest) for guest in ("tuned", "nic"))
VHOST = next(path for path, said in recorded(V2_TUNED).items() if path.endswith("/comm") and said == f"vhost-{NIC}\n")
ITS = f"{VHOST.removesuffix('comm')}task/{VHOST.split('/')[2]}"


def kernels(guest: str, edits: Edits | None = None) -> list[str]:
    return [one.comm for one in threads.threads(look(V2_TUNED, edits), guest) if one.kernel]


def test_the_kernels_threads_are_known_by_whom_they_work_for() -> None:
    assert kernels("tuned") == [f"vhost-{TUNED}", f"vhost-{TUNED}", f"kvm-nx-lpage-recovery-{TUNED}"]
    assert kernels("nic") == [f"vhost-{NIC}", f"kvm-nx-lpage-recovery-{NIC}"]


def test_they_are_with_the_emulator_and_are_not_qemus_own() -> None:
    own = next(one for one in threads.threads(look(V2_TUNED), "nic") if one.kernel)
    assert str(own) == f"emulator (kernel thread {VHOST.split('/')[2]}, vhost-{NIC})"
    assert not any(one.kernel for one in threads.of_process(look(V2_TUNED), NIC))


@pytest.mark.parametrize("name", ["vhost-", "vhost-{}x", "xvhost-{}", "vhost-1{}", "vhost-+{}", "vhost-{}/1"])
def test_another_name_is_nobodys(name: str) -> None:
    assert f"vhost-{NIC}" not in kernels("nic", {VHOST: name.format(NIC)})


def test_whoever_only_calls_himself_so_is_none() -> None:
    assert len(kernels("nic", changed(V2_TUNED, f"{ITS}/stat", ") S 2 ", ") S 1 "))) == 1


@pytest.mark.parametrize("name", ["comm", "stat", "cgroup", "status"])
def test_one_of_the_kernels_that_ended_meanwhile_is_left_out(name: str) -> None:
    assert len(kernels("nic", {f"{ITS}/{name}": None})) == 1


@pytest.mark.parametrize("path", [VHOST, f"{ITS}/stat"])
def test_one_of_the_kernels_that_cannot_be_read_is_an_error(path: str) -> None:
    with pytest.raises(CannotLook):
        kernels("nic", {path: Unreadable("Permission denied")})
