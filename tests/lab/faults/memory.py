"""A guest's memory: its size and balloon, DIMMs, limits, NUMA cells, and memory blocks inside the guest.

What follows from one another departs together: a plugged DIMM is memory, current memory, and its cell's memory inside;
the access of a cell is that of the guest's memory (MEM-BACK-5).
libvirt's XML follows the balloon by an event, whoever moved it.
"""

from __future__ import annotations

from tests.lab.faults import Fault
from tests.lab.faults.definitions import STARTED_BACK, STORED_BACK, current, started, stored

BLOCK = "/sys/devices/system/memory/memory32/state"
POLICY = "/sys/devices/system/memory/auto_online_blocks"
DIMM = '<memory model="dimm"><target><size unit="MiB">128</size><node>0</node></target></memory>'
PLUG = f"echo '{DIMM}' >/run/dimm.xml; virsh attach-device app1 /run/dimm.xml"
QMP = "virsh qemu-monitor-command app1"


BALLOON_BACK = f"virsh setmem app1 352M --live; {current(360448)}"
PLUGGED_LIVE = f"{PLUG} --live; {current(491520)}; sleep 0.5"
"""The guest's kernel needs a moment to see it."""
UNPLUG = f"rm /run/dimm.xml; virsh detach-device-alias app1 dimm1 --live; {current(360448)}"


SIZE = (
    Fault(
        "the balloon of a running guest is moved, by virsh",
        "hv1",
        f"virsh setmem app1 320M --live; {current(327680)}",
        BALLOON_BACK,
        {"MEM-SIZE-2 app1": "live actual guest", "MEM-CELL-2 app1/cell0": "guest"},
    ),
    Fault(
        "the balloon is moved behind libvirt, which hears of it",
        "hv1",
        f'{QMP} \'{{"execute":"balloon","arguments":{{"value":335544320}}}}\'; {current(327680)}',
        BALLOON_BACK,
        {"MEM-SIZE-2 app1": "live actual guest", "MEM-CELL-2 app1/cell0": "guest"},
    ),
    Fault(
        "the next start leaves a guest less of its memory",
        "hv1",
        "virsh setmem app1 320M --config",
        "virsh setmem app1 352M --config",
        {"MEM-SIZE-2 app1": "config"},
    ),
    Fault(
        "the next start gives a guest more memory",
        "hv1",
        "virsh setmaxmem plain1 256M --config",
        "virsh setmaxmem plain1 192M --config",
        {"MEM-SIZE-1 plain1": "config"},
    ),
    Fault(
        "a guest's driver lets go of its balloon",
        "hv1/plain1",
        "cd /sys/bus/virtio/drivers/virtio_balloon; b=$(ls -d virtio*); echo $b >/run/balloon; echo $b >unbind",
        "cat /run/balloon >/sys/bus/virtio/drivers/virtio_balloon/bind; rm /run/balloon",
        {"MEM-BALLOON-1 plain1": "guest"},
    ),
    Fault(
        "the next start has no balloon",
        "hv1",
        stored("s|<memballoon model='virtio'|<memballoon model='none'|", guest="plain1"),
        STORED_BACK,
        {"MEM-BALLOON-1 plain1": "config"},
    ),
    Fault(
        "a balloon's statistics are collected less often, live",
        "hv1",
        "virsh dommemstat app1 --period 60 --live",
        "virsh dommemstat app1 --period 5 --live",
        {"MEM-BALLOON-2 app1": "live actual"},
    ),
    Fault(
        "a balloon's statistics are collected less often, behind libvirt",
        "hv1",
        f'{QMP} \'{{"execute":"qom-set","arguments":{{"path":"/machine/peripheral/balloon0",'
        '"property":"guest-stats-polling-interval","value":60}}\'',
        "virsh dommemstat app1 --period 5 --live",
        {"MEM-BALLOON-2 app1": "actual"},
    ),
    Fault(
        "a balloon's statistics are collected from the next start on only",
        "hv1",
        "virsh dommemstat plain1 --period 5 --config",
        "virsh dommemstat plain1 --period 0 --config",
        {"MEM-BALLOON-2 plain1": "config"},
    ),
)

OTHERWISE = (
    "s|<maxMemory slots='4' unit='KiB'>1048576|<maxMemory slots='3' unit='KiB'>917504|",
    "s|<cell id='0' .*|<cell id='0' cpus='0-1' memory='131072' unit='KiB' memAccess='private'/>"
    "<cell id='1' cpus='2-3' memory='131072' unit='KiB' memAccess='private'/>|",
    "/<memballoon/,/<.memballoon>/d;s|</devices>|<memballoon model='none'/>&|",
)
"""Other limits, two cells of private memory for the one that is shared, no balloon; as much memory as before."""

PLUGGED = (
    Fault(
        "a DIMM is plugged live only",
        "hv1",
        PLUGGED_LIVE,
        UNPLUG,
        {
            "MEM-SIZE-1 app1": "live actual",
            "MEM-SIZE-2 app1": "live actual guest",
            "MEM-PLUG-2 app1": "live actual guest",
        },
    ),
    Fault(
        "a DIMM is plugged that is too small for the guest to see",
        "hv1",
        f"{PLUG.replace('128', '64')} --live; {current(425984)}",
        UNPLUG,
        {"MEM-SIZE-1 app1": "live actual", "MEM-SIZE-2 app1": "live actual", "MEM-PLUG-2 app1": "live actual"},
    ),
    Fault(
        "a DIMM is added for the next start only",
        "hv1",
        f"virsh dumpxml --inactive app1 >/run/memory.was; {PLUG} --config",
        "virsh define /run/memory.was; rm /run/memory.was /run/dimm.xml",
        {"MEM-SIZE-1 app1": "config", "MEM-SIZE-2 app1": "config", "MEM-PLUG-2 app1": "config"},
    ),
    Fault(
        "the next start has other limits, other NUMA cells and no balloon",
        "hv1",
        stored(*OTHERWISE),
        STORED_BACK,
        {
            "MEM-PLUG-1": "config",
            "MEM-CELL-1": "config",
            "MEM-CELL-2": "config",
            "MEM-CELL-3": "config",
            "MEM-BACK-5 app1": "config",
            "MEM-BALLOON-1 app1": "config",
            "MEM-BALLOON-2 app1": "config",
        },
    ),
    Fault(
        "the guest was started with other limits, other NUMA cells and no balloon",
        "hv1",
        started(*OTHERWISE),
        STARTED_BACK,
        {
            "MEM-PLUG-1": "live actual",
            "MEM-CELL-1": "live actual guest",
            "MEM-CELL-2": "live actual guest",
            "MEM-CELL-3": "live actual",
            "MEM-BACK-5 app1": "live actual",
            "MEM-BALLOON-1 app1": "live actual guest",
            "MEM-BALLOON-2 app1": "live actual",
            "MEM-SIZE-2 app1": "live actual",
        },
    ),
    Fault(
        "a memory block of a DIMM is offline in the guest",
        "hv1/app1",
        f"echo offline >{BLOCK}",
        f"echo online_movable >{BLOCK}",
        {"MEM-ONLINE-1 app1": "guest", "MEM-SIZE-2 app1": "guest", "MEM-CELL-2 app1/cell0": "guest"},
    ),
    Fault(
        "plugged memory stays offline in the guest",
        "hv1/app1",
        f"echo offline >{POLICY}",
        f"echo online_movable >{POLICY}",
        {"MEM-ONLINE-2 app1": "guest"},
    ),
)

FAULTS = (*SIZE, *PLUGGED)
