"""Who owns a path and what its mode allows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.errors import CannotLook
from virtvet.probes.files import MISSING, Guard, NoMoreThan, guard
from virtvet.snapshot.model import Absent, Answer, Snapshot, Status, Unreadable
from virtvet.snapshot.sources import Stat

KEY = "/etc/pki/libvirt/private/serverkey.pem"


def looked(answer: Answer) -> Snapshot:
    return Snapshot("hv1", TAKEN, {Stat(KEY): answer})


def test_guard() -> None:
    reading = guard(looked(Status("regular file", 0o640, "root", "qemu", 0, 107, 1704)), KEY)
    assert reading.value == Guard("regular file", "root", "qemu", 0o640)
    assert str(reading.value) == "regular file root:qemu 0640"


def test_missing_is_a_value() -> None:
    assert guard(looked(Absent()), KEY).value == MISSING


def test_unreadable_is_an_error() -> None:
    with pytest.raises(CannotLook, match="Permission denied"):
        guard(looked(Unreadable("Permission denied")), KEY)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (Guard("regular file", "root", "root", 0o600), True),
        (Guard("regular file", "root", "root", 0o400), True),
        (Guard("regular file", "root", "root", 0o000), True),
        (Guard("regular file", "root", "root", 0o604), False),
        (Guard("regular file", "root", "root", 0o640), False),
        (Guard("regular file", "root", "root", 0o4600), False),
        (Guard("regular file", "nobody", "root", 0o600), False),
        (Guard("regular file", "root", "users", 0o600), False),
        (Guard("directory", "root", "root", 0o600), False),
        (MISSING, False),
        (None, False),
    ],
)
def test_no_more_than(value: Any, fits: bool) -> None:
    assert NoMoreThan("regular file", "root", "root", 0o600).matches(value) is fits
