"""What an image host consists of, as data: packages, units, its virtual hardware, its guests. Its files: ``root/``."""

from ipaddress import IPv4Interface

from lab.spec import GuestSpec, HostSpec, Share

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "systemd-container", "dbus", "udev", "kmod", "libpam-systemd", "openssh-server"),
    *("iproute2", "procps", "pciutils", "nftables", "dnsmasq-base", "polkitd", "gnutls-bin"),
    *("libvirt-daemon-system", "libvirt-daemon-system-systemd", "libvirt-daemon-driver-qemu", "libvirt-clients"),
    *("qemu-system-x86", "qemu-utils", "seabios", "ipxe-qemu"),
)
LEFT_OUT = (
    *("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*"),
    *("/usr/lib/x86_64-linux-gnu/dri/*", "/usr/lib/x86_64-linux-gnu/libLLVM*"),
)
MODULES = (
    *("lib", "crypto", "arch", "virt", "block"),
    *(f"net/{name}" for name in ("9p", "bridge", "802", "8021q", "llc", "netfilter", "ipv4", "ipv6", "sched", "core")),
    *("net/packet", "net/vmw_vsock"),
    *(f"fs/{name}" for name in ("9p", "ext4", "jbd2", "fuse", "overlayfs", "fscache", "netfs", "autofs", "configfs")),
    *("fs/mbcache.ko", "fs/fat", "fs/nls", "fs/isofs"),
    *(f"drivers/{name}" for name in ("virtio", "vfio", "vhost", "block", "pci", "acpi", "ptp", "pps", "i2c", "iommu")),
    *("drivers/char", "drivers/firmware", "drivers/crypto/ccp", "drivers/md/dm-mod.ko", "drivers/cdrom"),
    *(f"drivers/scsi/{name}.ko" for name in ("scsi_mod", "scsi_common", "sd_mod", "sr_mod", "virtio_scsi")),
    *(f"drivers/net/{name}.ko" for name in ("tun", "tap", "macvlan", "macvtap", "veth", "dummy", "virtio_net")),
    *("drivers/net/net_failover.ko", "drivers/net/ethernet/intel", "drivers/net/mdio", "drivers/net/mii.ko"),
    *("drivers/thermal", "drivers/platform/x86/wmi.ko"),
)
"""What of the kernel's module tree is taken: some 90 of its 400 MiB. Missing ones are passed over."""
BOOT_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "bfq")
"""What the initramfs loads to find the root; bfq, so that the first slices of systemd have files for its weights."""

ENABLED = (
    *("mgmt0.service", "ssh.service", "machine-prod.slice", "serial-getty@ttyS0.service"),
    *("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd-tls.socket", "libvirtd.service"),
    *("virtlogd.socket", "virtlockd.socket"),
)
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "logrotate.timer", "man-db.timer", "getty@tty1.service"),
    *("systemd-pstore.service", "systemd-random-seed.service", "systemd-binfmt.service"),
    *("systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-journal-flush.service"),
    *("systemd-machine-id-commit.service", "systemd-firstboot.service", "systemd-sysusers.service"),
    *("systemd-hwdb-update.service", "ldconfig.service", "systemd-journal-catalog-update.service"),
    *("systemd-boot-system-token.service", "systemd-remount-fs.service", "systemd-user-sessions.service"),
    *("systemd-networkd.service", "systemd-networkd-wait-online.service", "systemd-timesyncd.service"),
    *("modprobe@drm.service", "modprobe@efi_pstore.service", "libvirt-guests.service"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-tmpfiles-clean.timer"),
    *("proc-sys-fs-binfmt_misc.automount", "nftables.service", "dnsmasq.service"),
)
"""What only costs time under TCG."""

MEMORY_MIB = 2560
CPUS = 2
CPU = "Opteron_G3,+npt"
"""TCG emulates AMD's SVM, so that /dev/kvm is there inside and nested guests run under KVM."""
ROOT = "/dev/vda3"
CMDLINE = (
    *("console=ttyS0", "quiet", "rw", "intel_iommu=on", "iommu=pt", "mitigations=off", "audit=0"),
    *("apparmor=0", "tsc=reliable", "no_timer_check", "random.trust_cpu=on", "systemd.show_status=0"),
    *("isolcpus=managed_irq,1", "rcu_nocbs=1", "irqaffinity=0"),
)
"""CPU 1 is kept from interrupts and callbacks alone: without `domain` in isolcpus the scheduler uses both CPUs, or all
would wait."""
MACHINE = ("-machine", "q35,kernel-irqchip=split,vmport=off,hpet=off,smm=off")
IOMMU = ("-device", "intel-iommu,intremap=on,caching-mode=on")
MANAGEMENT = "virtio-net-pci,netdev=management,mac=52:54:00:79:00:01,bus=pcie.0,addr=4,romfile="
HARDWARE = (
    *("-device", "pcie-root-port,id=port1,chassis=1,slot=1,bus=pcie.0,addr=5"),
    *("-netdev", "user,id=given,net=10.0.9.0/24,restrict=on"),
    *("-device", "e1000e,netdev=given,mac=52:54:00:79:00:02,bus=port1,romfile="),
    *("-device", "virtio-rng-pci,bus=pcie.0,addr=6"),
    *("-device", "pcie-root-port,id=port2,chassis=2,slot=2,bus=pcie.0,addr=7"),
    *("-device", "pcie-pci-bridge,id=bridge,bus=port2"),
    *("-device", "e1000,mac=52:54:00:79:00:03,bus=bridge,addr=1,romfile="),
    *("-device", "e1000,mac=52:54:00:79:00:04,bus=bridge,addr=2,romfile="),
    *("-device", "e1000,mac=52:54:00:79:00:05,bus=bridge,addr=3,romfile="),
    *("-device", "e1000,mac=52:54:00:79:00:06,bus=pcie.0,addr=8,romfile="),
)
"""The card that guests are given is 0000:01:00.0, one of the host's own 0000:00:08.0.

Behind the bridge three cards share one IOMMU group: 0000:03:01.0 and 02.0 belong to vfio-pci from the boot on
(udev/rules.d), 03.0 is taken out (tmpfiles.d) until a rescan of the bus.
"""

SHARE = Share(source="/srv/share", tag="hostshare", mountpoint="/mnt/share")
TUNED = GuestSpec(
    name="tuned",
    uuid="7f3c0000-0000-4000-8000-000000000301",
    mac="52:54:00:79:01:11",
    address="10.79.1.11",
    kind="kvm",
    partition="/machine/prod",
    memory_mib=128,
    share=SHARE,
    empty_mib=64,
    more="""
    <domain>
      <memtune>
        <hard_limit unit="MiB">600</hard_limit>
        <soft_limit unit="MiB">500</soft_limit>
        <swap_hard_limit unit="MiB">700</swap_hard_limit>
      </memtune>
      <blkiotune>
        <weight>300</weight>
        <device>
          <path>/dev/vda</path>
          <read_bytes_sec>1073741824</read_bytes_sec>
          <write_iops_sec>50000</write_iops_sec>
        </device>
      </blkiotune>
      <vcpu placement="static" current="1">2</vcpu>
      <iothreads>1</iothreads>
      <cputune>
        <shares>2048</shares>
        <period>100000</period>
        <quota>90000</quota>
        <global_period>100000</global_period>
        <global_quota>180000</global_quota>
        <emulator_period>50000</emulator_period>
        <emulator_quota>45000</emulator_quota>
        <iothread_period>50000</iothread_period>
        <iothread_quota>25000</iothread_quota>
        <vcpupin vcpu="0" cpuset="0"/>
        <vcpupin vcpu="1" cpuset="1"/>
        <emulatorpin cpuset="0-1"/>
        <iothreadpin iothread="1" cpuset="1"/>
      </cputune>
      <cpu mode="host-passthrough" check="none"/>
      <devices>
        <disk type="file" device="disk">
          <driver name="qemu" type="raw" cache="none" iothread="1"/>
          <source file="/var/lib/libvirt/images/tuned.img"/>
          <target dev="vda" bus="virtio"/>
          <iotune>
            <total_bytes_sec>10485760</total_bytes_sec>
            <total_iops_sec>500</total_iops_sec>
          </iotune>
        </disk>
        <interface type="network">
          <mac address="52:54:00:79:01:21"/>
          <source network="lab"/>
          <target dev="tuned1"/>
          <model type="virtio"/>
          <bandwidth>
            <inbound average="1000" peak="2000" burst="1024" floor="300"/>
            <outbound average="500"/>
          </bandwidth>
        </interface>
      </devices>
    </domain>""",
)
"""Everything that control groups and tc limit, from its start on."""
NIC = GuestSpec(
    name="nic",
    uuid="7f3c0000-0000-4000-8000-000000000302",
    mac="52:54:00:79:01:12",
    address="10.79.1.12",
    kind="kvm",
    memory_mib=128,
    more="""
    <domain>
      <cpu mode="host-passthrough" check="none"/>
      <devices>
        <hostdev mode="subsystem" type="pci" managed="yes">
          <source><address domain="0x0000" bus="0x01" slot="0x00" function="0x0"/></source>
          <boot order="1"/>
          <rom bar="off"/>
          <address type="pci" domain="0x0000" bus="0x00" slot="0x0a" function="0x0"/>
        </hostdev>
      </devices>
    </domain>""",
)
"""A guest with a card of the host."""
BACKED = """
<domain type="kvm">
  <name>backed</name>
  <uuid>7f3c0000-0000-4000-8000-000000000303</uuid>
  <memory unit="MiB">16</memory>
  <memoryBacking><hugepages><page size="2" unit="MiB"/></hugepages><locked/><nosharepages/></memoryBacking>
  <vcpu>1</vcpu>
  <os><type arch="x86_64" machine="pc">hvm</type></os>
  <features><acpi/></features>
  <cpu mode="host-passthrough" check="none"/>
  <on_reboot>restart</on_reboot>
  <devices>
    <controller type="usb" model="none"/>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw"/>
      <source file="/var/lib/libvirt/images/backed.img"/>
      <target dev="hda" bus="ide"/>
    </disk>
    <memballoon model="none"/>
  </devices>
</domain>"""
"""A guest with huge pages, locked: without a system, so that it starts at once and costs nothing."""
HALTED = bytes.fromhex("fa b030 e643 f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"
"""The sector it boots: interrupts and timer off, then `hlt`. The BIOS alone would keep a CPU busy with its clock."""
INSIDE = HostSpec(
    name="image",
    uuid="7f3c0000-0000-4000-8000-000000000003",
    address=IPv4Interface("10.0.2.15/24"),
    gateway=IPv4Interface("10.79.1.1/24"),
    guests=(TUNED, NIC),
)
"""The same in every clone."""
BANDWIDTH = '<network><bandwidth><inbound average="100000" peak="200000"/></bandwidth></network>'
"""Of the guests' network: without it none can be promised a floor."""
HOSTS = ("hv3", "hv4")
NAMES = (*HOSTS, "localhost", "127.0.0.1")
"""What the hosts' certificate is for."""
