"""PCI devices of hosts and in guests, on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

_PCI = "/sys/bus/pci"
_DEVICES = f"{_PCI}/devices"
_HOSTS, _GIVEN, _FIRST, _SECOND, _SPARE = "0000:00:08.0", "0000:01:00.0", "0000:03:01.0", "0000:03:02.0", "0000:03:03.0"
_UNTIL = "i=0; until {}; do i=$((i+1)); [ $i -lt 150 ]; sleep 0.1; done"
_KNOWN = "virsh -q nodedev-dumpxml {} >/dev/null 2>&1"
_RESCAN = f"echo 1 >{_PCI}/rescan; udevadm settle"
XML = "/run/virtvet-nic.xml"
STORED = f"virsh dumpxml --inactive nic >{XML}"
DEFINE = f"virsh -q define {XML}; rm {XML}"
_DEVICE = """\
<hostdev mode='subsystem' type='pci' managed='{managed}'>
<source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>
{more}<address type='pci' domain='0x0000' bus='0x00' slot='{slot}' function='0x0'/></hostdev>"""
AS_STATED = _DEVICE.format(managed="yes", slot="0x0a", more="<boot order='1'/><rom bar='off'/>")
_OTHERWISE = _DEVICE.format(managed="no", slot="0x0b", more="")


_BACK = _UNTIL.format("[ -e /sys/class/net/pt0 ]")
"""libvirt gives a managed device back some time after it is out of the guest's XML."""


def _live(verb: str, xml: str) -> str:
    """Plug or unplug it in the running guest."""
    wait = _UNTIL.format("! virsh dumpxml nic | grep -q '<hostdev'") if verb == "detach" else "true"
    return f"virsh -q {verb}-device nic /dev/stdin --live <<'XML'\n{xml}\nXML\n{wait}"


_UP = "until ip link set eth1 up && [ $(cat /sys/class/net/eth1/carrier) = 1 ]; do sleep 1; done"
_CONSOLE = "/var/log/libvirt/console/nic.log"
_PLUGGED = f"""n=$(date +%s)
{{ printf '\n%s; echo card-$((%s + 1))\n' '{_UP}' $n
{_UNTIL.format(f"grep -q card-$((n + 1)) {_CONSOLE}")}; }} >$(virsh -q ttyconsole nic)"""
"""A card that was plugged in is not brought up by itself: the guest's console is told to. QEMU looks once a second
whether somebody is there, so the console is kept open until that is done."""

FAULTS: tuple[Fault, ...] = (
    # the host's devices
    Fault(
        name="a PCI card is gone from the bus",
        on="hv3",
        breaks=f"echo 1 >{_DEVICES}/{_HOSTS}/remove; " + _UNTIL.format("! " + _KNOWN.format("pci_0000_00_08_0")),
        restores=f"{_RESCAN}; echo 1 >{_DEVICES}/{_SPARE}/remove; " + _UNTIL.format(_KNOWN.format("pci_0000_00_08_0")),
        departs={f"HOST-PCI-1 {_HOSTS}": "live actual", "HOST-IOMMU-7": "actual"},
    ),
    Fault(
        name="a card for guests is bound back to its driver behind libvirt",
        on="hv3",
        breaks=f"echo >{_DEVICES}/{_SECOND}/driver_override; echo {_SECOND} >{_PCI}/drivers/vfio-pci/unbind; "
        f"echo {_SECOND} >{_PCI}/drivers/e1000/bind; udevadm settle",
        restores="virsh -q nodedev-detach pci_0000_03_02_0",
        departs={
            f"HOST-PCI-2 {_SECOND}": "live actual",
            f"HOST-PCI-3 {_SECOND}": "actual",
            f"HOST-PCI-4 {_SECOND}": "actual",
            f"HOST-PCI-6 {_FIRST}": "actual",
        },
    ),
    Fault(
        name="a card of the host loses its driver",
        on="hv3",
        breaks=f"echo {_HOSTS} >{_PCI}/drivers/e1000/unbind",
        restores=f"echo {_HOSTS} >{_PCI}/drivers/e1000/bind; udevadm settle",
        departs={
            f"HOST-PCI-2 {_HOSTS}": "live actual",
            f"HOST-PCI-4 {_HOSTS}": "actual",
            f"HOST-PCI-4 {_HOSTS}/mac": "actual",
        },
    ),
    Fault(
        name="a driver_override is left behind",
        on="hv3",
        breaks=f"echo vfio-pci >{_DEVICES}/{_HOSTS}/driver_override",
        restores=f"echo >{_DEVICES}/{_HOSTS}/driver_override",
        departs={f"HOST-PCI-3 {_HOSTS}": "actual"},
    ),
    Fault(
        name="a card of the host takes another MAC address",
        on="hv3",
        breaks="ip link set lan0 address 52:54:00:79:00:66",
        restores="ip link set lan0 address 52:54:00:79:00:06",
        departs={f"HOST-PCI-4 {_HOSTS}/mac": "actual"},
    ),
    Fault(
        name="a card that the host uses joins an IOMMU group for guests",
        on="hv3",
        breaks=_RESCAN,
        restores=f"echo 1 >{_DEVICES}/{_SPARE}/remove",
        departs={
            f"HOST-PCI-5 {_FIRST}": "live actual",
            f"HOST-PCI-5 {_SECOND}": "live actual",
            f"HOST-PCI-6 {_FIRST}": "actual",
            f"HOST-PCI-6 {_SECOND}": "actual",
        },
    ),
    Fault(
        name="a card is said to be at another NUMA node",
        on="hv3",
        breaks=f"echo 0 >{_DEVICES}/{_HOSTS}/numa_node",
        restores=f"echo -1 >{_DEVICES}/{_HOSTS}/numa_node",
        departs={f"HOST-PCI-8 {_HOSTS}": "actual"},
    ),
    # in a guest's hands
    Fault(
        name="a guest's card is missing in its stored configuration",
        on="hv3",
        breaks=f"{STORED}; virsh -q detach-device nic /dev/stdin --config <<'XML'\n{AS_STATED}\nXML",
        restores=DEFINE,
        departs={"HOSTDEV-1": "config"},
    ),
    Fault(
        name="a guest's card is stored as another would have it",
        on="hv3",
        breaks=f"{STORED}; sed \"/<hostdev/,/<.hostdev/ {{ s/managed='yes'/managed='no'/; s/slot='0x0a'/slot='0x0b'/; "
        f"/<boot order/d; s/bar='off'/bar='on'/; }}\" {XML} | virsh -q define /dev/stdin",
        restores=DEFINE,
        departs={"HOSTDEV-3": "config", "HOSTDEV-4": "config", "HOSTDEV-5": "config"},
    ),
    Fault(
        name="a guest's kernel has dropped its card",
        on="hv3/nic",
        breaks=f"echo 1 >{_DEVICES}/0000:00:0a.0/remove",
        restores=f"echo 1 >{_PCI}/rescan; {_UP}",
        departs={"HOSTDEV-1": "guest"},
    ),
    Fault(
        name="a guest's card loses its driver inside",
        on="hv3/nic",
        breaks=f"echo 0000:00:0a.0 >{_PCI}/drivers/e1000e/unbind",
        restores=f"echo 0000:00:0a.0 >{_PCI}/drivers/e1000e/bind; {_UP}",
        departs={"HOSTDEV-6": "guest", "HOSTDEV-7": "guest", "HOSTDEV-8": "guest"},
    ),
    Fault(
        name="a guest gives its card another MAC address",
        on="hv3/nic",
        breaks="ip link set eth1 down; ip link set eth1 address 52:54:00:79:00:99; ip link set eth1 up",
        restores=f"ip link set eth1 down; ip link set eth1 address 52:54:00:79:00:02; {_UP}",
        departs={"HOSTDEV-6": "guest"},
    ),
    Fault(
        name="a guest's card is down",
        on="hv3/nic",
        breaks="ip link set eth1 down",
        restores=_UP,
        departs={"HOSTDEV-8": "guest"},
    ),
    Fault(
        name="a guest's card is pulled while it runs, and goes back to the host",
        on="hv3",
        breaks=_live("detach", AS_STATED) + "; " + _BACK,
        restores=_live("attach", AS_STATED) + "\n" + _PLUGGED,
        departs={
            "HOSTDEV-1": "live actual guest",
            "HOSTDEV-2": "actual",
            f"HOST-PCI-2 {_GIVEN}": "live actual",
            f"HOST-PCI-3 {_GIVEN}": "actual",
            f"HOST-PCI-4 {_GIVEN}": "actual",
            "QEMU-LIMIT-1 nic": "actual",  # libvirt leaves QEMU the right to lock its memory, which nothing needs now
        },
    ),
    Fault(
        name="a guest's card is plugged in again, otherwise",
        on="hv3",
        breaks="\n".join(
            (
                _live("detach", AS_STATED),
                _BACK,
                "virsh -q nodedev-detach pci_0000_01_00_0",
                _live("attach", _OTHERWISE),
                _PLUGGED,
            )
        ),
        restores="\n".join(
            (
                _live("detach", _OTHERWISE),
                "virsh -q nodedev-reattach pci_0000_01_00_0",  # else it stays at vfio-pci, though managed, for good
                _live("attach", AS_STATED),
                _PLUGGED,
            )
        ),
        departs={"HOSTDEV-3": "live", "HOSTDEV-4": "live", "HOSTDEV-5": "live"},
    ),
)
