"""A guest's partition on paper, and where its threads are."""

from __future__ import annotations

from tests.looks import V1, V2, V2_TUNED, WEB1, changed, look, pid, thread
from virtvet.probes import cgroup, placement, threads

OPENSTACK = "/machine/openstack.partition"
TUNED = pid(V2_TUNED, "tuned")
TID = thread(V1, "web1", "CPU 0/TCG")
VCPU0 = f"/proc/{pid(V1, 'web1')}/task/{TID}/cgroup"


def test_partition_as_libvirt_says_it() -> None:
    assert placement.config(look(V1), "web1", "").value == OPENSTACK
    assert placement.live(look(V1), "web1", "").value == OPENSTACK
    assert placement.live(look(V1), "db1", "").value == "/machine"


def test_no_partition_is_libvirts_default() -> None:
    assert placement.config(look(V1), "db1", "").value == "/machine"


def test_nobody_is_astray() -> None:
    for name, guest, partition in ((V1, "web1", OPENSTACK), (V1, "db1", "/machine"), (V2, "anchor", "/machine/prod")):
        assert placement.outside(look(name), guest, partition).value == set()
        assert placement.misplaced(look(name), guest, partition).value == set()


def test_a_thread_out_of_its_partition_is_named_once() -> None:
    edit = changed(V1, VCPU0, f"memory:{WEB1}", "memory:/machine")
    assert placement.outside(look(V1, edit), "web1", OPENSTACK).value == {
        f"vcpu0 (thread {TID}, CPU 0/TCG): memory in /machine"
    }
    assert placement.misplaced(look(V1, edit), "web1", OPENSTACK).value == set()


def test_without_a_stated_partition_the_wrong_group_is_told_instead() -> None:
    edit = changed(V1, VCPU0, f"memory:{WEB1}", "memory:/machine")
    assert len(placement.misplaced(look(V1, edit), "web1", None).value) == 1


def test_a_thread_in_anothers_group_is_in_its_partition() -> None:
    edit = changed(V1, VCPU0, f"cpu:{WEB1}/vcpu0", f"cpu:{WEB1}/emulator")
    assert placement.outside(look(V1, edit), "web1", OPENSTACK).value == set()
    assert placement.misplaced(look(V1, edit), "web1", OPENSTACK).value == {
        f"vcpu0 (thread {TID}, CPU 0/TCG): cpu in {WEB1}/emulator"
    }


def test_a_neighbour_of_a_like_name_is_not_the_partition() -> None:
    edit = changed(V1, VCPU0, "memory:/machine/openstack.partition/", "memory:/machine/openstack.partition2/")
    assert len(placement.outside(look(V1, edit), "web1", OPENSTACK).value) == 1


def test_in_v2_one_group_stands_for_all_controllers() -> None:
    edit = {"/proc/700/task/710/cgroup": "0::/user.slice\n"}
    assert placement.outside(look(V2, edit), "anchor", "/machine/prod").value == {
        "vcpu0 (thread 710, CPU 0/KVM): cpu in /user.slice"
    }


def test_the_kernels_threads_belong_in_the_emulators_group() -> None:
    vhost = next(one for one in threads.threads(look(V2_TUNED), "nic") if one.kernel)
    edit = changed(V2_TUNED, f"/proc/{vhost.pid}/task/{vhost.tid}/cgroup", "/emulator", "/vcpu0")
    scope = cgroup.of_guest(look(V2_TUNED), "nic").path
    assert placement.misplaced(look(V2_TUNED), "nic", "/machine").value == set()
    assert placement.misplaced(look(V2_TUNED, edit), "nic", "/machine").value == {
        f"{vhost}: cpu in {scope}/libvirt/vcpu0"
    }


def test_where_a_guest_is_most_of_qemus_own_threads_say() -> None:
    """However many the kernel has for it."""
    own, kernels = threads.of_process(look(V2_TUNED), TUNED), threads.of_kernel(look(V2_TUNED), TUNED)
    few = own[: (len(own) - 1) // 2]
    edits = {f"/proc/{one.pid}/task/{one.tid}/cgroup": "0::/\n" for one in (*few, *kernels)}
    assert len(edits) > len(own) / 2
    assert cgroup.of_guest(look(V2_TUNED, edits), "tuned").path == cgroup.of_guest(look(V2_TUNED), "tuned").path
