"""What libvirt is asked, by its own test driver (test:///…): a real connection with domains that cost nothing."""

from __future__ import annotations

from pathlib import Path

import libvirt
import pytest

from virtvet.errors import Unreachable
from virtvet.inventory import HostAccess, Libvirt
from virtvet.snapshot.libvirt_look import LibvirtLink, tls_port, without_secrets, words
from virtvet.snapshot.model import Absent, Content
from virtvet.snapshot.side_by_side import Deadline
from virtvet.snapshot.sources import Network, NodeDevice

DOMAIN = """
<domain type='test'>
  <name>{name}</name><uuid>{uuid}</uuid><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  <sysinfo type='smbios'><oemStrings><entry>io.systemd.credential:password=canary</entry></oemStrings></sysinfo>
  <devices><graphics type='vnc' passwd='canary'/></devices>
</domain>"""
NODE = """
<node>
  <cpu><mhz>6000</mhz><model>i986</model><active>4</active><nodes>1</nodes><sockets>1</sockets><cores>4</cores></cpu>
  <memory>16777216</memory>{domains}
  <device>
    <name>pci_0000_01_00_0</name>
    <capability type='pci'>
      <domain>0</domain><bus>1</bus><slot>0</slot><function>0</function>
      <product id='0x10d3'/><vendor id='0x8086'/>
    </capability>
  </device>
</node>"""


def uuid(i: int) -> str:
    return f"00000000-0000-4000-8000-{i:012}"


def link(folder: Path, count: int) -> LibvirtLink:
    """A node with so many running domains."""
    domains = "".join(DOMAIN.format(name=f"web{i}", uuid=uuid(i)) for i in range(count))
    (folder / "node.xml").write_text(NODE.format(domains=domains))
    access = HostAccess("hv1", None, Libvirt(uri=f"test://{folder}/node.xml"), ("hv1",), None, {})
    return LibvirtLink(access, None)


def test_domains_in_every_state(tmp_path: Path) -> None:
    node, deadline = link(tmp_path, 3), Deadline(9)
    connection = node.open(deadline)
    connection.lookupByName("web1").destroy()
    connection.lookupByName("web2").suspend()
    connection.createXML(DOMAIN.format(name="passing", uuid=uuid(9)))
    answer = node.look(deadline)
    domains = answer.domains
    assert {name: (one.state, one.persistent) for name, one in domains.items()} == {
        "web0": ("running", True),
        "web1": ("shut off", True),
        "web2": ("paused", True),
        "passing": ("running", False),
    }
    assert {name for name, one in domains.items() if one.live_xml is None} == {"web1"}
    assert {name for name, one in domains.items() if one.config_xml is None} == {"passing"}
    assert domains["web0"].uuid == uuid(0)
    assert "<domain type='test' id=" in str(domains["web0"].live_xml)
    assert "<domain type='test'>" in str(domains["web0"].config_xml)
    assert answer.capabilities_xml.startswith("<capabilities>")
    assert answer.libvirt_version > 1000000


def test_no_password_is_asked_for(tmp_path: Path) -> None:
    domain = link(tmp_path, 1).look(Deadline(9)).domains["web0"]
    assert "canary" not in f"{domain.live_xml}{domain.config_xml}"


def test_what_is_told_past_libvirt_is_not_kept() -> None:
    """Made up after tests of libvirt's own: its test driver knows no qemu:commandline."""
    told = "<qemu:commandline>\n  <qemu:arg value='-object'/>\n  <qemu:arg value='canary'/>\n</qemu:commandline>"
    wanted = "<domain><sysinfo type='smbios'/><os/></domain>"
    assert without_secrets(wanted.replace("<os/>", f"<os/><sysinfo type='fwcfg'>canary</sysinfo>{told}")) == wanted


@pytest.mark.parametrize("count", [0, 1, 30])
def test_two_calls_a_domain_and_seven_for_all(tmp_path: Path, count: int) -> None:
    node = link(tmp_path, count)
    node.look(Deadline(9))
    assert node.calls == 7 + 2 * count
    node.look(Deadline(9))
    assert node.calls == 2 * (6 + 2 * count) + 1


def test_a_closed_connection_is_opened_again(tmp_path: Path) -> None:
    node = link(tmp_path, 1)
    first = node.open(Deadline(9))
    assert node.open(Deadline(9)) is first
    node.close()
    assert node.look(Deadline(9)).domains.keys() == {"web0"}


def test_addresses(tmp_path: Path) -> None:
    access = HostAccess("hv1", None, Libvirt(uri="test:///default"), ("hv1",), None, {})
    node = LibvirtLink(access, None)
    assert node.addresses("test", "lease", Deadline(9)) == ("192.168.122.3",)
    with pytest.raises(Unreachable, match="hv1/none: Domain not found"):
        node.addresses("none", "lease", Deadline(9))


def test_why_it_cannot_be_opened_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    access = HostAccess("hv1", None, Libvirt(uri="qemu+unix:///system?socket=/nowhere"), ("hv1",), None, {})
    with pytest.raises(Unreachable, match="hv1: Failed to connect socket to '/nowhere': No such file or directory"):
        LibvirtLink(access, None).open(Deadline(9))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uri", "seen"),
    [
        (None, "qemu:///system"),
        ("qemu+tls://hv1/system", "qemu+tls://hv1/system?pkipath={pki}"),
        ("qemu+tls://hv1/system?keepalive_interval=5", "qemu+tls://hv1/system?keepalive_interval=5&pkipath={pki}"),
        ("qemu+tls://hv1/system?pkipath=/etc/x", "qemu+tls://hv1/system?pkipath=/etc/x"),
        ("qemu+ssh://hv1/system", "qemu+ssh://hv1/system"),
    ],
)
def test_the_pki_goes_into_a_tls_uri(tmp_path: Path, uri: str | None, seen: str) -> None:
    access = HostAccess("hv1", None, Libvirt(uri=uri, pki=tmp_path), ("hv1",), None, {})
    assert LibvirtLink(access, None).uri.replace("%2F", "/") == seen.format(pki=tmp_path)


@pytest.mark.parametrize(
    ("uri", "port"),
    [
        ("qemu+tls://hv1/system", 16514),
        ("qemu+tls://[::1]:99/system?no_verify=1", 99),
        ("qemu+ssh://hv1:22/system", None),
        (None, None),
    ],
)
def test_the_port_of_a_tls_uri(uri: str | None, port: int | None) -> None:
    assert tls_port(uri) == port


def test_a_libvirt_that_does_not_know_a_call_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(libvirt.libvirtError) as raised:
        link(tmp_path, 1).open(Deadline(9)).getSEVInfo()
    assert words(raised.value) == (
        "this function is not supported by the connection driver: virNodeGetSEVInfo "
        "(is the host's libvirt older than this?)"
    )


def test_devices_and_networks(tmp_path: Path) -> None:
    node, deadline = link(tmp_path, 0), Deadline(9)
    found = node.description(NodeDevice("pci_0000_01_00_0"), deadline)
    assert isinstance(found, Content)
    assert b"<product id='0x10d3'" in found.data
    assert node.description(NodeDevice("pci_0000_01_00_1"), deadline) == Absent()
    assert node.description(Network("gone"), deadline) == Absent()
    assert node.calls == 5
