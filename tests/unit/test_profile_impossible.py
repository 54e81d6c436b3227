"""What no host could ever have is refused when the profile is loaded: each mistake at its place, in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtvet.errors import BadInput
from virtvet.profile.load import load_profile

GUEST = "virtvet: 1\nguests:\n  web1:\n    "
VCPUS = "cpu: {vcpus: {maximum: 4}"
DEVICE = "optional: true\nhost: {devices: {0000:01:00.0: {"
CELL = "hotplug: {cells: {0: {cpus: 0-1}, 1: {cpus:"

IMPOSSIBLE = {
    # vCPUs
    "more vCPUs than places": (
        "cpu:\n      topology: {sockets: 1, dies: 1, cores: 2, threads: 2}\n      vcpus: {maximum: 8}",
        "6:7: cpu.vcpus: maximum: 8 vCPUs, but topology: has 1 sockets × 1 dies × 2 cores × 2 threads = 4",
    ),
    "fewer vCPUs than places, dies left to libvirt": (
        "cpu: {topology: {sockets: 2, cores: 2, threads: 1}, vcpus: 2}",
        "4:64: cpu.vcpus: maximum: 2 vCPUs, but topology: has 2 sockets × 2 cores × 1 threads = 4",
    ),
    "vCPUs that do not fill their sockets": (
        "cpu: {topology: {sockets: 2}, vcpus: {maximum: 3}}",
        "4:35: cpu.vcpus: maximum: 3 vCPUs are no multiple of topology: 2 sockets",
    ),
    "more vCPUs now than places": (
        "cpu: {topology: {sockets: 1, cores: 2, threads: 1}, vcpus: {current: 3}}",
        "4:57: cpu.vcpus: current: 3 vCPUs, but topology: has places for 2",
    ),
    "a vCPU that the topology has no place for": (
        "cpu: {topology: {sockets: 1, cores: 2, threads: 1}, vcpus: {list: {2: {enabled: true}}}}",
        "4:57: cpu.vcpus: list: names vCPU 2, but topology: has places for 2: 0 to 1",
    ),
    "more now than at most": (
        "cpu: {vcpus: {maximum: 2, current: 3}}",
        "4:11: cpu.vcpus: current: 3 is more than maximum: 2",
    ),
    "a pin of a vCPU that never is": (
        VCPUS + ", pins: {vcpu: {3: 0, 4: 1}}}",
        "4:32: cpu.pins: vcpu: names vCPU 4, but the guest has at most 4: 0 to 3",
    ),
    "a pin that the topology has no place for": (
        "cpu: {topology: {sockets: 1, cores: 2, threads: 1}, pins: {vcpu: {2: 0}}}",
        "4:57: cpu.pins: vcpu: names vCPU 2, but the guest has at most 2: 0 to 1",
    ),
    "a scheduler of a vCPU that never is": (
        VCPUS + ", schedulers: {vcpu: {9: batch}}}",
        "4:32: cpu.schedulers: vcpu: names vCPU 9, but the guest has at most 4: 0 to 3",
    ),
    # memory
    "more memory now than at most": (
        "memory: {size: {memory: 1 GiB, current: 2 GiB}}",
        "4:14: memory.size: current must not be more than memory: a balloon only takes",
    ),
    "a hard limit below the memory": (
        "memory: {size: {memory: 1 GiB}, limits: {hard: 512 MiB}}",
        "4:37: memory.limits: hard: 512 MiB is less than size: memory: 1024 MiB: the kernel would kill the guest when "
        "it uses its memory",
    ),
    "a hard limit below the memory there is now": (
        "memory: {size: {current: 1 GiB}, limits: {hard: 512 MiB}}",
        "4:38: memory.limits: hard: 512 MiB is less than size: current: 1024 MiB: the kernel would kill the guest when "
        "it uses its memory",
    ),
    "a hard limit below cells and DIMMs": (
        "memory: {limits: {hard: 512 MiB}, hotplug: {maximum: 1 GiB, dimms: [{size: 256 MiB}], "
        "cells: {0: {memory: 512 MiB}}}}",
        "4:14: memory.limits: hard: 512 MiB is less than hotplug: cells and DIMMs of 768 MiB: the kernel would kill "
        "the guest when it uses its memory",
    ),
    "guaranteed memory": (
        "memory: {limits: {min_guarantee: 1 GiB}}",
        "4:38: limits.min_guarantee: QEMU guests have no guaranteed memory: libvirt refuses <min_guarantee> for them "
        "(qemuValidateDomainDefMemory); use memory.limits.soft, or lock the guest's memory",
    ),
    "a swap limit below the hard one": (
        "memory: {limits: {hard: 2 GiB, swap_hard: 1 GiB}}",
        "4:14: memory.limits: swap_hard must not be less than hard: libvirt refuses it",
    ),
    "DIMMs that Linux never brings online": (
        "memory: {hotplug: {maximum: 1 GiB, dimms: [{size: 192 MiB}]}}",
        "4:5: web1.memory: hotplug: a DIMM of 192 MiB never comes online: Linux takes memory by blocks of 128 MiB",
    ),
    "more DIMMs than slots": (
        "memory: {hotplug: {maximum: 1 GiB, slots: 1, dimms: [{size: 128 MiB}, {size: 128 MiB}]}}",
        "4:14: memory.hotplug: 2 DIMMs do not fit into 1 slots",
    ),
    "parts that are not the whole": (
        "memory: {size: {memory: 1 GiB}, hotplug: {maximum: 2 GiB, dimms: [{size: 128 MiB}], "
        "cells: {0: {memory: 256 MiB}}}}",
        "4:37: memory.hotplug: cells and DIMMs make 384 MiB, but size: memory: is 1024 MiB",
    ),
    # cells
    "cells with a vCPU that never is": (
        VCPUS + "}\n    memory: {" + CELL + " 2-4}}}}",
        "5:5: web1.memory: hotplug: cells: name vCPU 4, but the guest has at most 4: 0 to 3",
    ),
    "cells that leave a vCPU out": (
        VCPUS + "}\n    memory: {" + CELL + " 2}}}}",
        "5:5: web1.memory: hotplug: cells: leave out vCPU 3 of 4: libvirt would put them into the first cell",
    ),
    "cells that contradict the topology": (
        "cpu: {topology: {sockets: 1, cores: 2, threads: 1}}\n    memory: {" + CELL + " 2}}}}",
        "5:5: web1.memory: hotplug: cells: name vCPU 2, but the guest has at most 2: 0 to 1",
    ),
    "cells that share a core": (
        "cpu: {topology: {threads: 2}}\n    memory: {hotplug: {cells: {0: {cpus: '0,2'}, 1: {cpus: '1,3'}}}}",
        "5:5: web1.memory: hotplug: cells: 0-1 share a core, that of vCPU 0-1 (topology: threads:); hotplug: cells: "
        "0-1 share a core, that of vCPU 2-3 (topology: threads:)",
    ),
    "memory bound for a cell there is not": (
        "memory: {numatune: {cells: {2: {nodes: 0}}}, " + CELL + " 2-3}}}}",
        "4:5: web1.memory: numatune: cells: names cell 2, which is not among hotplug: cells: (0-1)",
    ),
    "huge pages for a cell there is not": (
        "memory: {backing: {hugepages: {size: 2 MiB, nodes: 1-3}}, " + CELL + " 2-3}}}}",
        "4:5: web1.memory: backing: hugepages: nodes: names cell 2-3, which is not among hotplug: cells: (0-1)",
    ),
    # systems
    "memory hot-plug for a Windows that cannot": (
        "os: {windows: {version: 2008r2, edition: standard}}\n    memory: {hotplug: {maximum: 4 GiB}}",
        "5:5: web1.memory: hotplug: Windows 2008r2 standard takes no memory while it runs: only Enterprise and "
        "Datacenter do",
    ),
    # interfaces
    "a floor without a network": (
        "interfaces: {net0: {type: bridge, inbound: {average: 10 Mbit/s, floor: 1 Mbit/s}}}",
        "4:18: interfaces.net0: inbound.floor needs type network, and this is bridge: libvirt refuses it",
    ),
    "a floor of what the guest sends": (
        "interfaces: {net0: {outbound: {floor: 1 Mbit/s}}}",
        "4:43: outbound.floor: only inbound traffic can have a floor: libvirt refuses it for outbound",
    ),
    # devices
    "a device of two running guests": (
        "hostdevs: {0000:01:00.0: {}}\n  db1: {hostdevs: {0000:01:00.0: {}}}",
        "5:20: db1: hostdevs.0000:01:00.0: web1 has it while it runs (p.yaml:4:16)",
    ),
    "a device of a guest and of the host": (
        "hostdevs: {0000:01:00.0: {}}\nhost: {devices: {0000:01:00.0: {driver: e1000e}}}",
        "4:16: web1: hostdevs.0000:01:00.0: its driver is vfio-pci then, but host.devices says e1000e",
    ),
    "a guest's device with a network device on the host": (
        "hostdevs: {0000:01:00.0: {}}\nhost: {devices: {0000:01:00.0: {netdev: pt0}}}",
        "4:16: web1: hostdevs.0000:01:00.0: the host has no network device of it then, but host.devices says netdev:",
    ),
    "a guest's device without an IOMMU": (
        "hostdevs: {0000:01:00.0: {}}\nhost: {iommu: {enabled: false}}",
        "4:16: web1: hostdevs.0000:01:00.0: needs an IOMMU, but host.iommu says enabled: false",
    ),
    "isolated CPUs without the word for them": (
        "optional: true\nhost:\n  isolation: {cpus: 2-3}\n  kernel: {cmdline: {absent: [nosmt, nohz_full]}}",
        "7:38: the host: kernel.cmdline.absent: host.isolation wants CPU 2-3, which nohz_full= alone brings about",
    ),
    "a network device that nothing drives inside": (
        "hostdevs: {0000:01:00.0: {guest_driver: vfio-pci, link: up}}",
        "4:16: hostdevs.0000:01:00.0: link: a device with guest_driver: vfio-pci has no network device inside",
    ),
    "a device that no driver gives to QEMU": (
        "hostdevs: {0000:01:00.0: {driver: none}}",
        "4:39: 0000:01:00.0.driver: QEMU reaches a device by vfio-pci, or by a variant of it",
    ),
    "a device for guests with a network device": (
        DEVICE + "driver: vfio-pci, netdev: true}}}",
        "5:18: devices.0000:01:00.0: netdev: a device with vfio-pci has no network device on the host",
    ),
    "an address of no network device": (
        DEVICE + "netdev: false, mac: 52:54:00:00:00:01}}}",
        "5:18: devices.0000:01:00.0: mac: is that of its network device, but netdev: false",
    ),
    "a driver that may not bind": (
        DEVICE + "driver: e1000e, driver_override: vfio-pci}}}",
        "5:18: devices.0000:01:00.0: driver: e1000e, but driver_override: vfio-pci: no other driver binds then",
    ),
    "a device beside itself": (
        DEVICE + "group: ['0000:01:00.0']}}}",
        "5:8: host.devices: 0000:01:00.0: group: names what is beside it, not itself",
    ),
    "more virtual functions than there can be": (
        DEVICE + "sriov: {total: 4, vfs: 8}}}}",
        "5:33: 0000:01:00.0.sriov: vfs: 8 is more than total: 4",
    ),
    "virtual functions of a virtual function": (
        DEVICE + "sriov: {vfs: 1}, physical_function: '0000:02:00.0'}}}",
        "5:18: devices.0000:01:00.0: sriov: a virtual function has no virtual functions",
    ),
    # several guests, and the partition they are in
    "one CPU, two guests alone on it": (
        "cpu: {pins: {vcpu: {0: 1, 1: 2}, exclusive: true}}\n  db1: {cpu: {pins: {default: 2-3, exclusive: true}}}",
        "5:36: db1: cpu.pins.exclusive: CPU 2 is web1's alone (p.yaml:4:38)",
    ),
    "alone nobody knows where": (
        "optional: true\n    cpu: {pins: {exclusive: true}}",
        "5:18: web1: cpu.pins.exclusive: neither vcpu: nor default: says on which CPUs",
    ),
    "hard limits above their partition": (
        "partition: /machine/a\n    memory: {limits: {hard: 1 GiB}}\n"
        "  db1: {partition: /machine/a/b, memory: {limits: {hard: 1 GiB}}}\n"
        "host: {partitions: {/machine/a: {memory: 1536 MiB}}}",
        "5:23: web1: memory.limits.hard: 2048 MiB with db1, and /machine/a has 1536 MiB",
    ),
    "a pin outside the partition": (
        "optional: true\n    partition: /machine/a\n    cpu: {pins: {emulator: 1, vcpu: {0: 2-5}}}\n"
        "host: {partitions: {/machine/a: {cpuset: 1-4}}}",
        "6:38: web1: cpu.pins.vcpu.0: CPU 5 is not in the cpuset of its partition /machine/a (1-4)",
    ),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str) -> None:
    Path("p.yaml").write_text(text)
    load_profile("./p.yaml")


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_refused_at_its_place(name: str) -> None:
    text, wanted = IMPOSSIBLE[name]
    with pytest.raises(BadInput) as caught:
        load(f"{GUEST}{text}\n")
    assert str(caught.value) == f"p.yaml:{wanted}"


POSSIBLE = {
    "as many vCPUs as places": "cpu: {topology: {sockets: 1, dies: 2, cores: 2, threads: 2}, vcpus: {maximum: 8}}",
    "some of the topology": "cpu: {topology: {threads: 2}, vcpus: {maximum: 8}}",
    "one die in each socket": "cpu: {topology: {sockets: 2, cores: 2, threads: 1}, vcpus: 4, pins: {vcpu: {3: 0}}}",
    "a limit of what is not in huge pages": "memory: {size: {memory: 1 GiB}, backing: {hugepages: true}, "
    "limits: {hard: 512 MiB}}",
    "no limit": "memory: {size: {memory: 1 GiB}, limits: {hard: unlimited}}",
    "every vCPU in a cell": VCPUS + "}\n    memory: {" + CELL + " 2-3}}}, numatune: {cells: {1: {nodes: 0}}}}",
    "a cell that nothing is said of": VCPUS + "}\n    memory: {hotplug: {cells: {0: {cpus: 0-1}, 1: {}}}}",
    "on two hosts": "optional: true\n    cpu: {pins: {vcpu: {0: 1}, exclusive: true}}\n"
    "  db1: {cpu: {pins: {default: 1, exclusive: true}}}",
    "a device of a guest on each of two hosts": "optional: true\n    hostdevs: {0000:01:00.0: {}}\n"
    "  db1: {optional: true, hostdevs: {0000:01:00.0: {}}}",
    "a device of one guest after the other": "hostdevs: {0000:01:00.0: {}}\n"
    "  db1: {state: shut off, hostdevs: {0000:01:00.0: {}}}",
    "a partition's share of a host nobody knows": "partition: /machine\n    memory: {limits: {hard: 1 TiB}}\n"
    "host: {partitions: {/machine: {memory: 10%}}}",
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_not_refused(name: str) -> None:
    load(f"{GUEST}{POSSIBLE[name]}\n")


def test_entries_that_are_possible_by_themselves() -> None:
    """What each says stands in a file of its own."""
    Path("base.yaml").write_text("virtvet: 1\nguests:\n  '*':\n    cpu: {vcpus: {maximum: 2}}\n")
    with pytest.raises(BadInput) as caught:
        load("virtvet: 1\nextends: base.yaml\nguests:\n  web1:\n    cpu: {pins: {vcpu: {2: 0}}}\n")
    assert str(caught.value) == "p.yaml:5:11: cpu.pins: vcpu: names vCPU 2, but the guest has at most 2: 0 to 1"


def test_everything_that_cannot_be_is_told_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        load(GUEST + "cpu: {vcpus: {maximum: 1, current: 2}}\n    memory: {size: {memory: 1 MiB, current: 2 MiB}}\n")
    assert [str(problem.at) for problem in caught.value.problems] == ["p.yaml:4:11", "p.yaml:5:14"]
