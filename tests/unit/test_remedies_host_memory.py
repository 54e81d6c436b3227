"""What would be written into /sys, and what takes it back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.tuning_looks import look
from virtvet.check import Case
from virtvet.probes import host_memory
from virtvet.remedies import host_memory as remedies
from virtvet.remedies.change import CannotMend, Change
from virtvet.snapshot.model import Content, Snapshot

MIB = 1 << 20
NO_TARGET: Any = None
POOL = host_memory.pool(2 * MIB)
SEEN = look(
    {
        host_memory.POOLS: {
            f"{POOL}/nr_hugepages": Content(b"12\n"),
            f"{POOL}/surplus_hugepages": Content(b"2\n"),
        },
        host_memory.KSM_RUN: "1\n",
        host_memory.KSM_SHARING: "40\n",
        host_memory.THP["enabled"]: "[always] madvise never\n",
    }
)
MERGED = look({host_memory.KSM_RUN: "0\n", host_memory.KSM_SHARING: "40\n"})


def lines(changes: tuple[Change, ...]) -> list[str]:
    (change,) = changes
    return [*(str(step.do) for step in change.steps), *map(str, change.undo)]


def tee(path: str, *values: object) -> list[str]:
    return [f"hv1$ tee {path} <<< '{value}\n'   # if {path} is there" for value in values]


PAGES = Case("2 MiB", 16, (2 * MIB, True))
KSM_OFF, KSM_ON = Case("ksm", "off", (True,)), Case("ksm", "on", (True,))
NEVER = Case("enabled", "never", ("enabled", True))


def test_pages() -> None:
    assert lines(remedies.plan_pages(SEEN, PAGES, NO_TARGET)) == tee(f"{POOL}/nr_hugepages", 16, 10)


@pytest.mark.parametrize(("seen", "before"), [(SEEN, 1), (MERGED, 0)])
def test_ksm_takes_apart_what_it_merged(seen: Snapshot, before: int) -> None:
    assert lines(remedies.plan_ksm(seen, KSM_OFF, NO_TARGET)) == tee(str(host_memory.KSM_RUN), 2, before)


def test_transparent() -> None:
    path = str(host_memory.THP["enabled"])
    assert lines(remedies.plan_transparent(SEEN, NEVER, NO_TARGET)) == tee(path, "never", "always")


def test_what_only_the_next_boot_lacks_is_not_written() -> None:
    for plan, case in (
        (remedies.plan_pages, Case("2 MiB", 10, (2 * MIB, True))),
        (remedies.plan_ksm, KSM_ON),
        (remedies.plan_transparent, Case("enabled", "always", ("enabled", True))),
    ):
        with pytest.raises(CannotMend):
            plan(SEEN, case, NO_TARGET)
