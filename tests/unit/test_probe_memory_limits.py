"""Memory limits on every layer."""

from __future__ import annotations

import pytest

from tests.looks import ANCHOR, V1, V2, WEB1, changed, look
from virtvet.errors import CannotLook
from virtvet.probes import cgroup, memory_limits

MIB = 1 << 20
CONFIG = "virsh dumpxml --inactive web1"


@pytest.mark.parametrize(
    ("name", "guest", "limit", "value"),
    [
        (V1, "web1", "hard", 512 * MIB),
        (V1, "web1", "soft", 256 * MIB),
        (V1, "web1", "swap_hard", 768 * MIB),
        (V1, "db1", "hard", "unlimited"),
        (V2, "anchor", "hard", 1000001 * 1024),
        (V2, "anchor", "soft", "unlimited"),
        (V2, "anchor", "swap_hard", 2000000 * 1024),
    ],
)
def test_every_layer_says_the_same(name: str, guest: str, limit: str, value: int | str) -> None:
    assert memory_limits.config(look(name), guest, limit, value).value == value
    assert memory_limits.live(look(name), guest, limit, value).value == value
    assert memory_limits.actual(look(name), guest, limit, value).value == value


def test_a_page_less_is_less() -> None:
    file = f"{ANCHOR}/libvirt/memory.max"
    wanted = 1000001 * 1024
    assert memory_limits.actual(look(V2, {file: "1023995904"}), "anchor", "hard", wanted).value == 1023995904


def test_a_kernel_that_counts_no_swap_limits_none() -> None:
    file = f"/sys/fs/cgroup/memory{WEB1}/memory.memsw.limit_in_bytes"
    assert memory_limits.actual(look(V1, {file: None}), "web1", "swap_hard", MIB).value == "unlimited"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("<hard_limit unit='KiB'>1000001</hard_limit>", 1024001024),
        ("<hard_limit>1</hard_limit>", 1024),
        ("<hard_limit unit='G'>1</hard_limit>", 1 << 30),
        ("<hard_limit unit='bytes'>4096</hard_limit>", 4096),
        ("<hard_limit unit='KiB'>9007199254740991</hard_limit>", "unlimited"),
        ("", "unlimited"),
    ],
)
def test_units_of_the_xml(written: str, value: object) -> None:
    edit = changed(V1, CONFIG, "<hard_limit unit='KiB'>524288</hard_limit>", written)
    assert memory_limits.config(look(V1, edit), "web1", "hard", 0).value == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_a_limit_that_is_no_number_is_an_error(text: str) -> None:
    edit = changed(V1, CONFIG, ">524288<", f">{text}<")
    with pytest.raises(CannotLook):
        memory_limits.config(look(V1, edit), "web1", "hard", 0)


@pytest.mark.parametrize(("size", "kept"), [(1000, 1024), (1024, 1024), (0, 0), ("unlimited", "unlimited")])
def test_libvirt_keeps_whole_kib(size: int | str, kept: int | str) -> None:
    assert memory_limits.as_kib(size) == kept


def test_room_is_what_the_groups_above_leave() -> None:
    assert memory_limits.room(look(V1), "web1").value == 2048 * MIB
    assert memory_limits.room(look(V1), "db1").value == cgroup.NO_LIMIT
    assert memory_limits.room(look(V2), "anchor").value == 2048 * MIB
