"""Pins as libvirt was told, and as the kernel keeps them."""

from __future__ import annotations

import pytest

from tests.looks import ANCHOR, V1, V2, V2_TUNED, WEB1, by_hand, changed, look, pid, thread
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cgroup, pins, threads

CONFIG = "virsh dumpxml --inactive web1"
BOTH = frozenset({0, 1})
TASK = f"/proc/{pid(V1, 'web1')}/task"
OTHER, IOTHREAD, VCPU0, VCPU1 = (
    thread(V1, "web1", comm) for comm in ("IO mon_iothread", "IO iothread1", "CPU 0/TCG", "CPU 1/TCG")
)


@pytest.mark.parametrize(
    ("name", "guest", "role", "cpus"),
    [
        (V1, "web1", "vcpu0", {0}),
        (V1, "web1", "vcpu1", {0, 1}),
        (V1, "web1", "emulator", {0, 1}),
        (V1, "web1", "iothread1", {1}),
        (V1, "db1", "vcpu0", {0}),
        (V1, "db1", "emulator", {0}),
        (V2, "anchor", "vcpu0", {0, 1}),
        (V2, "anchor", "vcpu1", {1, 3}),
        (V2, "anchor", "iothread1", {3}),
    ],
)
def test_every_layer_says_the_same(name: str, guest: str, role: str, cpus: set[int]) -> None:
    wanted = frozenset(cpus)
    assert pins.config(look(name), guest, role, wanted).value == cpus
    assert pins.live(look(name), guest, role, wanted).value == cpus
    assert {one.value for one in pins.actual(look(name), guest, role, wanted)} == {wanted}


def test_on_v2_the_cpuset_group_is_read_too() -> None:
    sources = [one.source for one in pins.actual(look(V2), "anchor", "vcpu1", frozenset({1, 3}))]
    assert any(source.endswith("/vcpu1/cpuset.cpus.effective") for source in sources), sources


def test_affinity_and_group_are_two_readings_a_thread() -> None:
    assert [one.source for one in pins.actual(look(V1), "web1", "vcpu0", frozenset({0}))] == [
        f"{TASK}/{VCPU0}/status Cpus_allowed_list of vcpu0 (thread {VCPU0}, CPU 0/TCG)",
        f"/sys/fs/cgroup/cpuset{WEB1}/vcpu0/cpuset.cpus",
    ]


def test_without_any_pin_a_thread_may_run_everywhere() -> None:
    edit = changed(V1, CONFIG, "<vcpupin vcpu='0' cpuset='0'/>", "")
    assert pins.config(look(V1, edit), "web1", "vcpu0", BOTH).value == BOTH


def test_what_the_guest_does_not_have_is_not_set() -> None:
    assert pins.config(look(V1), "web1", "vcpu2", BOTH).value is None
    assert pins.config(look(V1), "db1", "iothread1", BOTH).value is None
    with pytest.raises(NotApplicable):
        pins.actual(look(V1), "db1", "iothread1", BOTH)


def test_an_iothread_that_should_run_but_is_not_there_is_an_error() -> None:
    edit = {f"{TASK}/{IOTHREAD}/comm": "qemu-system-x86\n"}
    with pytest.raises(CannotLook, match="no thread is iothread1"):
        pins.actual(look(V1, edit), "web1", "iothread1", BOTH)


def test_numad_cannot_be_foretold() -> None:
    edit = changed(V1, CONFIG, "placement='static'", "placement='auto'")
    with pytest.raises(NotApplicable, match="numad"):
        pins.config(look(V1, edit), "web1", "vcpu0", BOTH)


@pytest.mark.parametrize("text", ["", "x", "^0"])
def test_a_pin_that_makes_no_sense_is_an_error(text: str) -> None:
    edit = changed(V1, CONFIG, "vcpu='0' cpuset='0'", f"vcpu='0' cpuset='{text}'")
    with pytest.raises(CannotLook):
        pins.config(look(V1, edit), "web1", "vcpu0", BOTH)


@pytest.mark.parametrize("count", ["", "-1", "1e9", "99999999"])
def test_a_number_of_vcpus_that_makes_no_sense_is_an_error(count: str) -> None:
    edit = changed(V1, CONFIG, ">2</vcpu>", f">{count}</vcpu>")
    with pytest.raises(CannotLook):
        pins.config(look(V1, edit), "web1", "vcpu0", BOTH)


def test_cpus_of_the_pin_that_are_offline_are_kept() -> None:
    wanted = frozenset({1, 3})
    files = {
        "/sys/devices/system/cpu/online": "0-2\n",
        "/proc/700/task/711/status": "Cpus_allowed_list:\t1\n",
        f"{ANCHOR}/libvirt/vcpu1/cpuset.cpus.effective": "1\n",
    }
    assert {one.value for one in pins.actual(look(V2, files), "anchor", "vcpu1", wanted)} == {wanted}


def test_a_pin_whose_cpus_are_all_offline_does_not_hold() -> None:
    files = {"/sys/devices/system/cpu/online": "0-1\n", "/proc/700/task/706/status": "Cpus_allowed_list:\t0-1\n"}
    wanted = frozenset({3})
    assert pins.actual(look(V2, files), "anchor", "iothread1", wanted)[0].value != wanted


def test_taskset_moves_a_thread_behind_libvirts_back() -> None:
    files = {f"{TASK}/{VCPU1}/status": "Cpus_allowed_list:\t0\n"}
    affinity, group = pins.actual(look(V1, files), "web1", "vcpu1", BOTH)
    assert (affinity.value, group.value) == ({0}, BOTH)


def test_every_emulator_thread_counts() -> None:
    files = {f"{TASK}/{OTHER}/status": "Cpus_allowed_list:\t0\n"}
    found = pins.actual(look(V1, files), "web1", "emulator", BOTH)
    assert [one.value for one in found].count(frozenset({0})) == 1
    emulators = [one for one in threads.threads(look(V1), "web1") if one.role == "emulator"]
    assert len(found) == len(emulators) + len(["its group"])


def test_the_kernels_threads_of_a_guest_are_bound_like_its_emulator() -> None:
    vhost = next(one for one in threads.threads(look(V2_TUNED), "tuned") if one.kernel)
    edit = changed(V2_TUNED, f"/proc/{vhost.pid}/task/{vhost.tid}/status", "list:\t0-1", "list:\t1")
    strays = [one for one in pins.actual(look(V2_TUNED, edit), "tuned", "emulator", BOTH) if one.value != BOTH]
    assert [(one.value, str(vhost) in one.source) for one in strays] == [({1}, True)]


def test_the_others_are_those_not_named() -> None:
    named = ("vcpu0", "vcpu1", "iothread1")
    assert [one.value for one in pins.config_others(look(V1), "web1", named, BOTH)] == [BOTH]
    assert {one.value for one in pins.actual_others(look(V1), "web1", named, BOTH)} == {BOTH}
    with pytest.raises(NotApplicable):
        pins.live_others(look(V1), "web1", (*named, "emulator"), BOTH)


def test_the_defaults_of_a_guest_without_pins_are_its_cpuset() -> None:
    found = pins.actual_others(look(V1), "db1", (), frozenset({0}))
    assert {one.value for one in found} == {frozenset({0})}


def test_running_threads_are_looked_for_on_their_cpus() -> None:
    assert pins.elsewhere(look(V2), "anchor", {"vcpu0": frozenset({0, 1})}, None).value == set()
    assert pins.elsewhere(look(V2), "anchor", {"vcpu0": frozenset({0})}, None).value == {
        "vcpu0 (thread 710, CPU 0/KVM) on CPU 1"
    }


def test_threads_that_sleep_say_nothing() -> None:
    with pytest.raises(NotApplicable, match="running"):
        pins.elsewhere(look(V2), "anchor", {"vcpu1": frozenset({1})}, None)


def test_a_guest_started_by_hand_has_affinities_but_no_group() -> None:
    hand = look(V1, by_hand(V1, "web1") | changed(V1, "qemu.ARGUMENTS", "guest=web1,", "guest=hand,"))
    [vcpu0] = pins.actual(hand, "hand", "vcpu0", frozenset({0}))
    assert (vcpu0.value, vcpu0.source.split()[0]) == ({0}, f"{TASK}/{VCPU0}/status")
    others = pins.actual_others(hand, "hand", ("vcpu0", "vcpu1", "iothread1"), BOTH)
    assert {one.value for one in others} == {BOTH}
    assert all(one.source.startswith(TASK) for one in others)
    for layer in (pins.config, pins.live):
        with pytest.raises(NotApplicable, match="libvirt does not know it"):
            layer(hand, "hand", "vcpu0", BOTH)
    with pytest.raises(NotApplicable, match="no such thread"):
        pins.actual(hand, "hand", "vcpu7", BOTH)
    with pytest.raises(NotApplicable, match="in the control group of whoever did"):
        cgroup.of_guest(hand, "hand")
