"""Domain and network XML from the specification of hosts and guests."""

from xml.etree import ElementTree as ET

from lab.spec import NETWORK, GuestSpec, HostSpec

IMAGES = "/var/lib/libvirt/images"
KERNEL = "/var/lib/libvirt/boot/vmlinux"
CMDLINE = "console=ttyS0 quiet mitigations=off nokaslr no_timer_check cryptomgr.notests panic=5"


def network_xml(host: HostSpec) -> str:
    """The guests' network: routed by nobody (``open`` asks for no firewall), with a fixed lease for each guest."""
    network = ET.Element("network")
    _text(network, "name", NETWORK)
    ET.SubElement(network, "forward", mode="open")
    ET.SubElement(network, "bridge", name="virbr0", stp="off", delay="0")
    gateway = host.gateway
    ip = ET.SubElement(network, "ip", address=str(gateway.ip), netmask=str(gateway.netmask))
    dhcp = ET.SubElement(ip, "dhcp")
    hosts = list(gateway.network.hosts())
    ET.SubElement(dhcp, "range", start=str(hosts[1]), end=str(hosts[-1]))
    for guest in filter(lambda guest: guest.address, host.guests):
        ET.SubElement(dhcp, "host", mac=guest.mac, name=guest.name, ip=guest.address)
    return _string(network)


def domain_xml(guest: GuestSpec) -> str:
    """The domain as it is defined; bandwidth and hard limits are added once it runs."""
    domain = ET.Element("domain", type=guest.kind)
    _text(domain, "name", guest.name)
    _text(domain, "uuid", guest.uuid)
    _text(domain, "memory", str(guest.memory_mib), unit="MiB")
    _vcpus(domain, guest)
    _tuning(domain, guest)
    _boot(domain, guest)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    if guest.kind == "qemu":
        # QEMU's own default grows to 1 GiB: it would end a guest at its hard limit after some minutes
        _text(ET.SubElement(features, "tcg"), "tb-cache", "64", unit="MiB")
    _text(domain, "on_reboot", "restart")
    _devices(ET.SubElement(domain, "devices"), guest)
    if guest.more:
        merge(domain, ET.fromstring(guest.more))
    return _string(domain)


def merge(domain: ET.Element, more: ET.Element) -> None:
    """Devices are added, a balloon instead of the usual one; every other element takes its namesake's place."""
    for element in more:
        found = domain.find(element.tag)
        if found is not None and element.tag == "devices":
            merge(found, element)
            continue
        if found is not None and (domain.tag == "domain" or element.tag == "memballoon"):
            domain.remove(found)
        domain.append(element)


def _vcpus(domain: ET.Element, guest: GuestSpec) -> None:
    cpuset = {"cpuset": guest.cpuset} if guest.cpuset else {}
    _text(domain, "vcpu", str(guest.vcpus), placement="static", **cpuset)
    if guest.iothreadpins:
        _text(domain, "iothreads", str(len(guest.iothreadpins)))


def _tuning(domain: ET.Element, guest: GuestSpec) -> None:
    if guest.soft_limit_kib:
        _text(ET.SubElement(domain, "memtune"), "soft_limit", str(guest.soft_limit_kib), unit="KiB")
    cputune = ET.Element("cputune")
    if guest.shares:
        _text(cputune, "shares", str(guest.shares))
    for vcpu, cpus in guest.vcpupins.items():
        ET.SubElement(cputune, "vcpupin", vcpu=str(vcpu), cpuset=cpus)
    if guest.emulatorpin:
        ET.SubElement(cputune, "emulatorpin", cpuset=guest.emulatorpin)
    for iothread, cpus in guest.iothreadpins.items():
        ET.SubElement(cputune, "iothreadpin", iothread=str(iothread), cpuset=cpus)
    if len(cputune):
        domain.append(cputune)
    if guest.partition:
        _text(ET.SubElement(domain, "resource"), "partition", guest.partition)


def _boot(domain: ET.Element, guest: GuestSpec) -> None:
    system = ET.SubElement(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    _text(system, "kernel", KERNEL)
    _text(system, "initrd", f"{IMAGES}/{guest.name}.cpio")
    _text(system, "cmdline", cmdline(guest))


def cmdline(guest: GuestSpec) -> str:
    """Of the guest's kernel."""
    root = ["root=/dev/vda"] if guest.disk_mib else []
    return " ".join([CMDLINE, *root, *filter(None, [guest.cmdline])])


def _devices(devices: ET.Element, guest: GuestSpec) -> None:
    ET.SubElement(devices, "controller", type="usb", model="none")
    if guest.disk_mib:
        disk = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(disk, "driver", name="qemu", type="raw", cache="none")
        ET.SubElement(disk, "source", file=f"{IMAGES}/{guest.name}.img")
        ET.SubElement(disk, "target", dev="vda", bus="virtio")
    if guest.share:
        share = ET.SubElement(devices, "filesystem", type="mount", accessmode=guest.share.accessmode)
        ET.SubElement(share, "source", dir=guest.share.source)
        ET.SubElement(share, "target", dir=guest.share.tag)
    if guest.address:
        interface = ET.SubElement(devices, "interface", type="network")
        ET.SubElement(interface, "mac", address=guest.mac)
        ET.SubElement(interface, "source", network=NETWORK)
        ET.SubElement(interface, "model", type="virtio")
    else:
        channel = ET.SubElement(devices, "channel", type="unix")
        ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=f"/var/log/libvirt/console/{guest.name}.log", append="on")
    ET.SubElement(devices, "memballoon", model="virtio")
    # without it dropbear waits seconds for the guest's kernel to gather randomness
    _text(ET.SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text


def _string(element: ET.Element) -> str:
    ET.indent(element)
    return ET.tostring(element, encoding="unicode")
