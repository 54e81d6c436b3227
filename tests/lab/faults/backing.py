"""What guests' memory is made of, its NUMA nodes, and the system that their metadata names.

The lab has no huge pages, may not lock memory and has one NUMA node: see EXEMPT for what that leaves.
"""

from __future__ import annotations

from tests.lab.faults import Fault, definitions

OSINFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
DEBIAN, UBUNTU, WINDOWS = (
    "http://debian.org/debian/12",
    "http://ubuntu.com/ubuntu/24.04",
    "http://microsoft.com/win/2k8",
)
RELEASE = "printf 'ID=debian\\nVERSION_ID=\"%s\"\\n' {} >/etc/os-release"


def _stored(name: str, guest: str, edit: str, control: str) -> Fault:
    """Only the stored XML is wrong."""
    departs = {f"{control} {guest}": "config"}
    return Fault(name, "hv1", definitions.stored(edit, guest=guest), definitions.STORED_BACK, departs)


def _named(name: str, where: str, os_id: str, *controls: str) -> Fault:
    """The system that the metadata names, live or in the file."""
    command = f"virsh metadata app1 {OSINFO} --key libosinfo --{where} --set '<libosinfo><os id=\"{{}}\"/></libosinfo>'"
    departs = {f"{control} app1": where for control in controls}
    return Fault(name, "hv1", command.format(os_id), command.format(DEBIAN), departs)


def _merge(on: str) -> str:
    arguments = f'{{"path": "/objects/ram-node0", "property": "merge", "value": {on}}}'
    return f'virsh qemu-monitor-command app1 \'{{"execute": "qom-set", "arguments": {arguments}}}\' | grep -v error'


BACKING = (
    _stored("the next start takes huge pages", "app1", "s|<nosharepages/>|&<hugepages/>|", "MEM-BACK-1"),
    _stored("the next start locks the memory", "app1", "s|<nosharepages/>|&<locked/>|", "MEM-BACK-2"),
    _stored("the next start lets KSM merge the memory", "app1", "/<nosharepages/d", "MEM-BACK-3"),
    _stored("the next start takes the memory from a file", "app1", "s|type='memfd'|type='file'|", "MEM-BACK-4"),
    _stored(
        "the next start shares the memory",
        "plain1",
        "s|<vcpu |<memoryBacking><access mode='shared'/></memoryBacking>&|",
        "MEM-BACK-5",
    ),
    _stored(
        "the next start allocates all memory",
        "app1",
        "s|<nosharepages/>|&<allocation mode='immediate'/>|",
        "MEM-BACK-6",
    ),
    _stored(
        "the next start discards the memory",
        "plain1",
        "s|<vcpu |<memoryBacking><discard/></memoryBacking>&|",
        "MEM-BACK-7",
    ),
    Fault(
        "QEMU was told behind libvirt's back that the memory may be merged",
        "hv1",
        _merge("true"),
        _merge("false"),
        {"MEM-BACK-3 app1": "actual"},
    ),
    Fault(
        "a guest was started with its memory in a shared file",
        "hv1",
        definitions.started(
            "s|<vcpu |<memoryBacking><nosharepages/><source type='file'/><access mode='shared'/>"
            "<allocation mode='immediate'/><discard/></memoryBacking>&|",
            guest="plain1",
        ),
        definitions.started_back("plain1"),
        {f"MEM-BACK-{number} plain1": "live actual" for number in range(3, 8)},
    ),
)

NUMA = (
    Fault(
        "the next start only prefers the NUMA node",
        "hv1",
        "virsh numatune app1 --mode preferred --config",
        "virsh numatune app1 --mode strict --config",
        {"MEM-NUMA-1 app1": "config"},
    ),
    Fault(
        "the next start takes memory from another NUMA node, too",
        "hv1",
        "virsh numatune app1 --nodeset 0-1 --config",
        "virsh numatune app1 --nodeset 0 --config",
        {"MEM-NUMA-2 app1": "config"},
    ),
    Fault(
        "a guest was started without NUMA tuning",
        "hv1",
        f"{definitions.started('/<numatune>/,/<.numatune>/d')}; {definitions.SETTLED}",
        definitions.STARTED_BACK,
        {"MEM-NUMA-1 app1": "live actual", "MEM-NUMA-2 app1": "live actual"},
    ),
)

SYSTEMS = (
    _named("the metadata of the running domain names another system", "live", UBUNTU, "GUEST-OS-1"),
    _named("the stored metadata names another system", "config", UBUNTU, "GUEST-OS-1"),
    # another system, and one that cannot: one fact follows from the other
    _named("the running domain is a Windows that takes no memory", "live", WINDOWS, "GUEST-OS-1", "GUEST-OS-2"),
    _named("the stored domain is a Windows that takes no memory", "config", WINDOWS, "GUEST-OS-1", "GUEST-OS-2"),
    Fault(
        "the guest was upgraded, its metadata not",
        "hv1/app1",
        RELEASE.format(13),
        RELEASE.format(12),
        {"GUEST-OS-1 app1": "guest"},
    ),
)

FAULTS = (*BACKING, *NUMA, *SYSTEMS)
