"""The lab's pure parts: what it writes before anything is started."""

import doctest
import shutil
import stat
import subprocess
from ipaddress import ip_address
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from lab import access, by_hand, cgroups, domain, kernel, userland
from lab.cpio import Tree
from lab.errors import LabError
from lab.spec import DB1, HAND2, HOSTS, MUTE2, PLAIN1, ROOT_ADDRESS, WEB1

GUESTS = [guest for host in HOSTS for guest in host.guests]
WITH_NETWORK = [guest for guest in GUESTS if guest.address]


@pytest.mark.parametrize("module", [cgroups, kernel])
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


def test_names_addresses_and_identifiers_are_unique():
    for values in ([g.address for g in WITH_NETWORK], [g.mac for g in WITH_NETWORK], [g.uuid for g in GUESTS]):
        assert len(set(values)) == len(values)
    assert all(host.address.network == ROOT_ADDRESS.network for host in HOSTS)


def test_guests_live_on_their_host_network():
    for host in HOSTS:
        for guest in host.guests:
            assert not guest.address or ip_address(guest.address) in host.gateway.network


def test_co_mounted_and_named_hierarchies():
    mounts = """\
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/x,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /elsewhere cgroup rw,cpu,cpuacct 0 0
"""
    assert [h.mount_options for h in cgroups.hierarchies(mounts)] == ["cpu,cpuacct", "none,name=systemd"]


def test_missing_module_is_named():
    with pytest.raises(LabError, match="no module 9p"):
        kernel.load_order("kernel/a.ko:", ["9p"])


@pytest.mark.skipif(not shutil.which("cpio"), reason="there is no cpio")
def test_archive_is_what_cpio_reads():
    tree = Tree()
    tree.file("etc/deep/hostname", "web1\n")
    tree.link("bin/sh", "/bin/busybox")
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=tree.archive(), capture_output=True, check=True).stdout
    assert set(listed.decode().split()) == {"etc", "etc/deep", "etc/deep/hostname", "bin", "bin/sh"}


def test_parents_do_not_lose_their_mode():
    tree = Tree()
    tree.directory("root", 0o700)
    tree.file("root/.profile", "")
    assert stat.S_IMODE(tree.nodes["root"].mode) == 0o700


def test_web1_has_all_its_tuning():
    xml = ET.fromstring(domain.domain_xml(WEB1))
    pins = {pin.get("vcpu"): pin.get("cpuset") for pin in xml.iter("vcpupin")}
    assert pins == {"0": "0", "1": "0-1"}
    assert xml.findtext("resource/partition") == "/machine/openstack.partition"
    assert xml.find("devices/filesystem").get("accessmode") == "passthrough"
    assert xml.findtext("cputune/shares") == "2048"


def test_plain_guest_has_no_tuning():
    xml = ET.fromstring(domain.domain_xml(PLAIN1))
    assert [tag for tag in ("cputune", "memtune", "resource", "iothreads") if xml.find(tag) is not None] == []
    assert xml.find("devices/disk") is None


def test_disk_guest_boots_from_its_disk():
    xml = ET.fromstring(domain.domain_xml(DB1))
    assert "root=/dev/vda" in xml.findtext("os/cmdline")
    assert xml.find("vcpu").get("cpuset") == "0"


def test_guest_without_network_has_a_channel_instead():
    xml = ET.fromstring(domain.domain_xml(MUTE2))
    assert xml.find("devices/interface") is None
    assert xml.find("devices/channel/target").get("name") == "org.qemu.guest_agent.0"


@pytest.mark.skipif(not Path(userland.AGENT).exists(), reason="there is no qemu-guest-agent")
def test_guest_without_network_starts_an_agent():
    files = userland.own(MUTE2, "ssh-ed25519 AAAA", b"key").nodes
    assert "dropbear" not in files["etc/inittab"].data.decode()
    assert stat.S_IMODE(files["usr/sbin/qemu-ga"].mode) == 0o755


def test_guest_started_by_hand_is_a_script_of_its_host():
    script = "\n".join(by_hand.start(HAND2))
    assert "-name hand2,debug-threads=on" in script
    assert "-fsdev local,id=share,path=/srv/share,security_model=passthrough" in script
    assert "mount_tag=hostshare" in script
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0


def test_every_guest_with_a_network_has_a_fixed_lease():
    for host in HOSTS:
        leases = {(h.get("mac"), h.get("ip")) for h in ET.fromstring(domain.network_xml(host)).iter("host")}
        assert leases == {(guest.mac, guest.address) for guest in host.guests if guest.address}


def test_fstab_mounts_the_share():
    fstab = userland.own(WEB1, "ssh-ed25519 AAAA", b"key").nodes["etc/fstab"].data.decode()
    assert fstab == "hostshare /mnt/share 9p trans=virtio,version=9p2000.L,posixacl,cache=loose 0 0\n"


def test_inventory_is_the_contract(tmp_path):
    inventory = YAML(typ="safe").load(access.inventory(tmp_path / "ssh", tmp_path / "pki", tmp_path / "expired"))
    login = {"user": "root", "key": f"{tmp_path}/ssh/id", "known_hosts": f"{tmp_path}/ssh/known_hosts"}
    assert inventory["hosts"]["hv1"] == {
        "ssh": {"address": "10.77.0.1", "port": 22, **login},
        "libvirt": {
            "uri": "qemu+tls://10.77.0.1/system",
            "pki": f"{tmp_path}/pki",
            "expired_client": f"{tmp_path}/expired",
        },
        "names": ["hv1", "10.77.0.1"],
        "guests": {"*": {"ssh": {**login, "via": "host", "address": "lease"}}},
    }
    assert inventory["hosts"]["hv2"]["guests"] == {
        "mute2": {"agent": True},
        "hand2": {"ssh": {**login, "via": "host", "address": "10.78.2.13"}},
        "*": {"ssh": {**login, "via": "host", "address": "lease"}},
    }


@pytest.mark.skipif(not shutil.which("ssh"), reason="there is no ssh")
def test_ssh_config_is_what_ssh_reads(tmp_path):
    config = tmp_path / "config"
    config.write_text(access.ssh_config(tmp_path))
    seen = subprocess.run(["ssh", "-G", "-F", str(config), "web1.hv1"], capture_output=True, text=True, check=True)
    wanted = {"hostname 10.78.1.11", "proxyjump hv1", "user root", "stricthostkeychecking true"}
    assert wanted <= set(seen.stdout.splitlines())
