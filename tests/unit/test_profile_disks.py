"""What a profile may say of disks and of the host's block devices, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from virtvet.profile.base import Wants
from virtvet.profile.blkio import Blkio
from virtvet.profile.disks import Disk
from virtvet.profile.model import Profile

MIB = 1 << 20


def test_short_and_full_are_one() -> None:
    short = Disk.model_validate({"read": "20 MiB/s", "write": "10 MiB/s", "total_iops": 500})
    full = {"read_bytes": "20 MiB/s", "write_bytes": "10 MiB/s", "total_iops": 500}
    assert short.throttling == Disk.model_validate({"iotune": full}).throttling
    assert short.throttling.stated == {"read_bytes": 20 * MIB, "write_bytes": 10 * MIB, "total_iops": 500}


def test_a_short_limit_may_have_a_burst() -> None:
    disk = Disk.model_validate({"read": "1 MiB/s", "iotune": {"read_bytes_max": "2 MiB/s", "read_bytes_max_length": 3}})
    assert disk.throttling.stated == {"read_bytes": MIB, "read_bytes_max": 2 * MIB, "read_bytes_max_length": 3}


def test_no_limit_is_stated_too() -> None:
    assert Disk.model_validate({"total": "unlimited", "read": "1 MiB/s"}).throttling.stated["total_bytes"] == 0
    limits = Blkio.model_validate({"devices": {"/dev/vda": {"weight": 10, "read_iops": "unlimited"}}})
    assert limits.devices["/dev/vda"].limits == {"read_iops": 0}


def test_entries_of_several_patterns_are_merged() -> None:
    guests = {"*": {"disks": {"vda": {"read": "1 MiB/s"}}}, "web*": {"disks": {"vda": {"total_iops": 9}}}}
    wants = Profile.model_validate({"virtvet": 1, "guests": guests}).guest("web1")
    assert wants is not None
    assert wants.disks["vda"].throttling.stated == {"read_bytes": MIB, "total_iops": 9}


@pytest.mark.parametrize(
    ("model", "written", "words"),
    [
        (Disk, {"total": 1, "read": 1}, "total_bytes cannot be set together with read_bytes"),
        (Disk, {"iotune": {"total_iops": 1, "write_iops": 1}}, "total_iops cannot be set together"),
        (Disk, {"read_iops": 9, "iotune": {"read_iops_max": 8}}, "8 is less than 9"),
        (Disk, {"iotune": {"read_iops_max": 8}}, "read_iops_max is the burst above read_iops"),
        (Disk, {"read_iops": 9, "iotune": {"read_iops_max_length": 8}}, "state read_iops_max with it"),
        (Disk, {"read": 9, "iotune": {"size_iops": 8}}, "size_iops means nothing"),
        (Disk, {"read": 9, "iotune": {"read_bytes": 9}}, "state it once"),
        (Disk, {"read": "fast"}, "is no rate"),
        (Disk, {"read": 10**15 + 1}, "QEMU takes at most"),
        (Disk, {"read_iops": "9"}, "is no number of requests"),
        (Disk, {"read_iops": -1}, "is no number of requests"),
        (Disk, {"read_iops": True}, "is no number of requests"),
        (Disk, {"bus": "scsi", "driver": {"iothread": 1}}, "only a virtio disk"),
        (Disk, {"device": "cdrom", "readonly": False}, "always read-only"),
        (Disk, {"device": "cdrom", "bus": "virtio"}, "never on virtio"),
        (Disk, {"driver": {"io": "native", "cache": "writeback"}}, "needs cache: none or directsync"),
        (Disk, {"source": {"path": "/a", "protocol": "rbd"}}, "path is of a file or a block device"),
        (Disk, {"source": {"type": "file", "hosts": [{"name": "mon1"}]}}, "are of type network"),
        (Disk, {"source": {"type": "block", "name": "pool/image"}}, "name is of type network or volume"),
        (Disk, {"source": {"path": "a.img"}}, "absolute path: begin it with /"),
        (Blkio, {"weight": 1001}, "less than or equal to 1000"),
        (Blkio, {"weight": 9}, "greater than or equal to 10"),
        (Blkio, {"devices": {"vda": {}}}, "path of a block device: use /dev/sda"),
    ],
)
def test_what_cannot_be(model: type[Wants], written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(written)
