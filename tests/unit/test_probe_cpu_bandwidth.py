"""CPU time on every layer."""

from __future__ import annotations

import pytest

from tests.looks import V1, V2, WEB1, changed, look
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import cpu_bandwidth

CONFIG = "virsh dumpxml --inactive web1"


@pytest.mark.parametrize(
    ("name", "guest", "who", "what", "value"),
    [
        (V1, "web1", "guest", "shares", 2048),
        (V1, "web1", "guest", "period", 100000),
        (V1, "web1", "guest", "quota", 150000),
        (V1, "web1", "vcpu", "period", 100000),
        (V1, "web1", "vcpu", "quota", 50000),
        (V1, "web1", "emulator", "quota", 80000),
        (V1, "web1", "iothread", "quota", 60000),
        (V1, "db1", "vcpu", "quota", "unlimited"),
        (V1, "db1", "vcpu", "period", 100000),
        (V2, "anchor", "guest", "shares", 2048),
        (V2, "anchor", "vcpu", "quota", 50000),
        (V2, "anchor", "vcpu", "period", 100000),
        (V2, "anchor", "guest", "quota", "unlimited"),
        (V2, "anchor", "iothread", "quota", "unlimited"),
    ],
)
def test_every_layer_says_the_same(name: str, guest: str, who: str, what: str, value: object) -> None:
    assert cpu_bandwidth.config(look(name), guest, who, what).value == value
    assert cpu_bandwidth.live(look(name), guest, who, what).value == value
    assert {one.value for one in cpu_bandwidth.actual(look(name), guest, who, what)} == {value}


def test_every_vcpu_is_read() -> None:
    second = {f"/sys/fs/cgroup/cpu{WEB1}/vcpu1/cpu.cfs_quota_us": "-1\n"}
    found = cpu_bandwidth.actual(look(V1, second), "web1", "vcpu", "quota")
    assert [one.value for one in found] == [50000, "unlimited"]


@pytest.mark.parametrize(
    ("what", "number", "value"),
    [
        ("quota", None, "unlimited"),
        ("quota", 0, "unlimited"),
        ("quota", -1, "unlimited"),
        ("quota", 17592186044415, "unlimited"),
        ("quota", 17592186044414, 17592186044414),
        ("quota", 1000, 1000),
        ("period", None, 100000),
        ("period", 0, 100000),
        ("period", 1000000, 1000000),
        ("shares", None, None),
        ("shares", 2, 2),
    ],
)
def test_what_libvirt_means(what: str, number: int | None, value: object) -> None:
    assert cpu_bandwidth.meaning(what, number) == value


@pytest.mark.parametrize(
    ("who", "what", "element", "parameter"),
    [
        ("guest", "shares", "shares", "cpu_shares"),
        ("vcpu", "quota", "quota", "vcpu_quota"),
        ("emulator", "period", "emulator_period", "emulator_period"),
        ("guest", "quota", "global_quota", "global_quota"),
    ],
)
def test_names_in_xml_and_schedinfo(who: str, what: str, element: str, parameter: str) -> None:
    assert (cpu_bandwidth.element(who, what), cpu_bandwidth.parameter(who, what)) == (element, parameter)


def test_a_guest_without_iothreads_has_no_quota_of_them() -> None:
    with pytest.raises(NotApplicable, match="iothread"):
        cpu_bandwidth.actual(look(V1), "db1", "iothread", "quota")


def test_a_quota_that_is_no_number_is_an_error() -> None:
    edit = changed(V1, CONFIG, "<quota>50000<", "<quota>half<")
    with pytest.raises(CannotLook):
        cpu_bandwidth.config(look(V1, edit), "web1", "vcpu", "quota")
