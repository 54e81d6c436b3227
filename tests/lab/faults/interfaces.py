"""Network interfaces of app1, their bandwidth, and PCI devices inside it: the second interface is no one's way in."""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import STARTED_BACK, STORED_BACK, started, stored

GUEST = "hv1/app1"
SECOND = "app1/net1"
CARD = "app1/8086:100e"
SLOT = "0000:00:03.0"
OF_SECOND = r"/52:54:00:77:01:24/,/<\/interface>/"
PLUGGED = 'ip link set eth1 up; until [ "$(cat /sys/class/net/eth1/carrier)" = 1 ]; do usleep 100000; done'
"""e1000 looks for its link every two seconds."""


def _stored(name: str, edit: str, departs: str) -> Fault:
    """Another definition, which the running guest does not show."""
    return Fault(f"{name}, in the file", "hv1", stored(edit), STORED_BACK, {departs: "config"})


def _second(what: str) -> str:
    return f"{OF_SECOND} {what}"


OTHER_BRIDGE = "ip link add virbr7 type bridge; ip link set virbr7 up"
OTHERWISE = (
    _second("s/<model/<mtu size='1400'\\/><link state='down'\\/>&/"),
    "s/'e1000'/'virtio'/; s/'app1lan'/'app1wan'/; s/52:54:00:77:01:24/52:54:00:77:01:25/",
)
OF_BRIDGE = "<interface type='bridge'>/,/<\\/interface"
UPDATED_BACK = "virsh update-device app1 /run/nic.was --live; rm /run/nic.was /run/nic.xml"


def _updated(edit: str) -> str:
    """Another second interface in the running guest, as far as libvirt can change it."""
    dump = f'virsh dumpxml app1 | sed -n "/{OF_BRIDGE}/p" >/run/nic.was'
    return f'{dump}; sed "{edit}" /run/nic.was >/run/nic.xml; virsh update-device app1 /run/nic.xml --live'


INTERFACES = (
    _stored(
        "the second interface has another MAC address", "s/52:54:00:77:01:24/52:54:00:77:01:25/", f"NIC-DEV-1 {SECOND}"
    ),
    _stored(
        "the second interface is on a network instead of a bridge",
        "s/<interface type='bridge'>/<interface type='network'>/; s/<source bridge='virbr0'/<source network='lab'/",
        f"NIC-DEV-2 {SECOND}",
    ),
    _stored(
        "the second interface is on another bridge", "s/bridge='virbr0'/bridge='virbr7'/", f"NIC-DEV-3 {SECOND}/bridge"
    ),
    _stored("the second interface is of another model", _second("s/'e1000'/'virtio'/"), f"NIC-DEV-4 {SECOND}"),
    _stored("the tap has another name", "s/'app1lan'/'app1wan'/", f"NIC-DEV-5 {SECOND}"),
    _stored("the MTU is smaller", _second("s/<model/<mtu size='1400'\\/>&/"), f"NIC-DEV-6 {SECOND}"),
    _stored("a VLAN is tagged", _second("s/<model/<vlan><tag id='42'\\/><\\/vlan>&/"), f"NIC-DEV-8 {SECOND}"),
    Fault(
        "the cable is pulled, in the file",
        "hv1",
        "virsh domif-setlink app1 app1lan down --config",
        "virsh domif-setlink app1 app1lan up --config",
        {f"NIC-DEV-7 {SECOND}": "config"},
    ),
    Fault(
        "the cable is pulled from the running guest",
        "hv1",
        "virsh domif-setlink app1 app1lan down; sleep 3",
        "virsh domif-setlink app1 app1lan up; sleep 3",
        {f"NIC-DEV-7 {SECOND}": "live guest"},
    ),
    Fault(
        "the tap is down",
        "hv1",
        "ip link set app1lan down",
        "ip link set app1lan up",
        {f"NIC-DEV-7 {SECOND}": "actual"},
    ),
    Fault(
        "the bridge keeps the tap waiting",
        "hv1",
        "ip link set virbr0 type bridge forward_delay 3000; ip link set virbr0 type bridge stp_state 1; "
        "ip link set app1lan down; ip link set app1lan up",
        "ip link set virbr0 type bridge stp_state 0; ip link set virbr0 type bridge forward_delay 0; "
        "ip link set app1lan down; ip link set app1lan up",
        {f"NIC-DEV-7 {SECOND}": "actual"},
    ),
    Fault(
        "the tap is a port of another bridge",
        "hv1",
        f"{OTHER_BRIDGE}; ip link set app1lan master virbr7",
        "ip link set app1lan master virbr0; ip link delete virbr7",
        {f"NIC-DEV-3 {SECOND}/bridge": "actual"},
    ),
    Fault(
        "the tap is a port of no bridge",
        "hv1",
        "ip link set app1lan nomaster",
        "ip link set app1lan master virbr0",
        {f"NIC-DEV-3 {SECOND}/bridge": "actual"},
    ),
    Fault(
        "the tap is renamed",
        "hv1",
        "ip link set app1lan down; ip link set app1lan name lan; ip link set lan up",
        "ip link set lan down; ip link set lan name app1lan; ip link set app1lan up",
        {f"NIC-DEV-5 {SECOND}": "actual"},
    ),
    Fault(
        "the tap's MTU is smaller",
        "hv1",
        "ip link set app1lan mtu 1400",
        "ip link set app1lan mtu 1500",
        {f"NIC-DEV-6 {SECOND}": "actual"},
    ),
    Fault(
        "the guest makes its MTU smaller",
        GUEST,
        f"ip link set eth1 mtu 1400; {PLUGGED}",
        f"ip link set eth1 mtu 1500; {PLUGGED}",
        {f"NIC-DEV-6 {SECOND}": "guest"},
    ),
    Fault(
        "the guest takes another MAC address",
        GUEST,
        "ip link set eth1 address 52:54:00:77:01:99",
        f"ip link set eth1 address 52:54:00:77:01:24; {PLUGGED}",
        {f"NIC-DEV-1 {SECOND}": "guest"},
    ),
    Fault(
        "the running interface is moved to another bridge",
        "hv1",
        f"{OTHER_BRIDGE}; " + _updated("s/bridge='virbr0'/bridge='virbr7'/"),
        f"{UPDATED_BACK}; ip link delete virbr7",
        {f"NIC-DEV-3 {SECOND}/bridge": "live actual"},
    ),
    Fault(
        "the running interface is moved to a network",
        "hv1",
        _updated("s/type='bridge'/type='network'/; s/bridge='virbr0'/network='lab'/"),
        UPDATED_BACK,
        {f"NIC-DEV-2 {SECOND}": "live"},
    ),
    Fault(
        "the guest runs with another interface than its file says",
        "hv1",
        started(*OTHERWISE),
        STARTED_BACK,
        {
            f"NIC-DEV-1 {SECOND}": "live actual guest",
            f"NIC-DEV-4 {SECOND}": "live actual guest",
            f"NIC-DEV-5 {SECOND}": "live actual",
            f"NIC-DEV-6 {SECOND}": "live actual guest",
            f"NIC-DEV-7 {SECOND}": "live guest",
            f"GUEST-PCI-1 {CARD}": "guest",
        },
    ),
)

PCI = (
    Fault(
        "the guest lets go of a PCI device's driver",
        GUEST,
        f"echo {SLOT} >/sys/bus/pci/drivers/e1000/unbind",
        f"echo {SLOT} >/sys/bus/pci/drivers/e1000/bind; {PLUGGED}",
        {f"GUEST-PCI-2 {CARD}": "guest", f"NIC-DEV-1 {SECOND}": "guest"},
    ),
    Fault(
        "the guest removes a PCI device",
        GUEST,
        f"echo 1 >/sys/bus/pci/devices/{SLOT}/remove",
        f"echo 1 >/sys/bus/pci/rescan; {PLUGGED}",
        {f"GUEST-PCI-1 {CARD}": "guest", f"NIC-DEV-1 {SECOND}": "guest"},
    ),
)

FORGETFUL = (
    "cp /usr/sbin/tc /run/tc; printf '#!/bin/sh\\n"
    'case "$*" in *" sfq "*|*" fw "*|*" police "*) exit 0;; esac\\nexec /run/tc "$@"\\n\' >/run/forgetful; '
    "chmod +x /run/forgetful; mount --bind /run/forgetful /usr/sbin/tc"
)
"""A tc that makes classes, but neither filters nor what they share out: libvirt believes it. The lab's kernel has none
of these, so that the true one fails."""
TRUE_TC = "umount /usr/sbin/tc; rm /run/tc /run/forgetful"


def _tuned(name: str, way: str, control: str, layers: str) -> tuple[Fault, Fault]:
    tune, case = f"virsh domiftune app1 app1lan --{way}", f"{control} {SECOND}/{way}/average"
    return (
        Fault(f"{name}, in the file", "hv1", f"{tune} 1000,2000,512 --config", f"{tune} 0 --config", {case: "config"}),
        Fault(
            f"{name}, while the guest runs",
            "hv1",
            f"{FORGETFUL}; {tune} 1000,2000,512 --live; {TRUE_TC}",
            f"{tune} 0 --live",
            {case: layers},
        ),
    )


BANDWIDTH = (
    *_tuned("what comes to the guest is limited", "inbound", "NIC-BW-1", "live actual"),
    *_tuned("what the guest sends is limited", "outbound", "NIC-BW-2", "live"),
    Fault(
        "the tap is given a class behind libvirt's back",
        "hv1",
        "tc qdisc replace dev app1lan root handle 1: htb default 1; "
        "tc class add dev app1lan parent 1: classid 1:1 htb rate 8mbit",
        "tc qdisc delete dev app1lan root",
        {f"NIC-BW-1 {SECOND}/inbound/average": "actual"},
    ),
    Fault(
        "the tap is given a token bucket behind libvirt's back",
        "hv1",
        "tc qdisc replace dev app1lan root tbf rate 8mbit burst 32kb latency 50ms",
        "tc qdisc delete dev app1lan root",
        {f"NIC-BW-1 {SECOND}/inbound/average": "actual"},
    ),
)

FAULTS = (*INTERFACES, *PCI, *BANDWIDTH)
