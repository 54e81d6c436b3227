"""The image hosts themselves: clones differ where they must, a silent one is made anew, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.image import ImageLab
from lab.machine import wait_until
from tests.image.conftest import TOP

OWNER = """
import time
from lab.image import ImageLab

with ImageLab("one"):
    print("up", flush=True)
    time.sleep(60)
"""


def test_clones_differ_where_they_must(image_lab: ImageLab) -> None:
    told = {
        name: host.sh("hostname; cat /etc/machine-id; date +%s").stdout.split()
        for name, host in image_lab.hosts.items()
    }
    names, ids, clocks = zip(*told.values(), strict=True)
    assert list(names) == list(told)
    assert len(set(ids)) == len(told)
    assert all(abs(int(clock) - time.time()) < 10 for clock in clocks)


def test_they_run_systemd_cgroup_v2_vt_d_and_guests_under_kvm(image_lab: ImageLab) -> None:
    host = image_lab.hosts["hv3"]
    assert host.sh("systemctl is-system-running").stdout == "running\n"
    assert host.sh("stat -fc %T /sys/fs/cgroup; ls /sys/class/iommu").stdout == "cgroup2fs\ndmar0\n"
    assert set(host.sh("virsh -q list --name").stdout.split()) == {"tuned", "nic", "backed"}
    assert "<domain type='kvm'" in host.sh("virsh dumpxml tuned").stdout
    assert image_lab.machine("hv3/nic").sh("cat /sys/class/net/eth1/address").stdout == "52:54:00:79:00:02\n"


def test_a_silent_clone_is_made_anew(apart: str) -> None:
    with ImageLab("one", quiet=True) as lab:
        host = lab.hosts["one"]
        silent = host.pid
        os.kill(silent, signal.SIGSTOP)
        with ImageLab("one", quiet=True):
            assert host.pid not in (0, silent)
            assert host.answers()
        assert not Path(f"/proc/{silent}").exists()
    assert not lab.folder.exists()


def test_hosts_end_with_a_process_that_is_killed(apart: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=TOP) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        host = ImageLab("one").hosts["one"]
        assert host.pid
        owner.kill()
    wait_until(lambda: not host.pid, 10, "the end of its QEMU")
