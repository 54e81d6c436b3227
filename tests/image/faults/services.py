"""Faults of host.services on the image hosts."""

from __future__ import annotations

from tests.lab.faults import Fault

_WANTS = "/etc/systemd/system/multi-user.target.wants/libvirtd.service"
_PACKAGE = "/run/virtvet-telnetd"
_REMEMBERED = "systemctl show -p UnitFileState libvirtd.service | grep -qx UnitFileState=enabled"

FAULTS: tuple[Fault, ...] = (
    Fault(
        name="a unit's link is removed, and systemd remembers it as enabled",
        on="hv3",
        breaks=f"{_REMEMBERED}; rm {_WANTS}; {_REMEMBERED}",  # from the first time it is asked to the next reload
        restores=f"ln -sf /lib/systemd/system/libvirtd.service {_WANTS}",
        departs={"SERVICE-UNIT-1 libvirtd.service": "config"},
    ),
    Fault(
        name="an instance of a unit is stopped by hand",
        on="hv3",
        breaks="systemctl stop serial-getty@ttyS0.service",
        restores="systemctl start serial-getty@ttyS0.service",
        departs={"SERVICE-UNIT-2 serial-getty@ttyS0.service": "live"},
    ),
    Fault(
        name="a unit that must be masked is unmasked and started",
        on="hv4",
        breaks="systemctl -q unmask fstrim.timer; systemctl start fstrim.timer",
        restores="systemctl stop fstrim.timer; systemctl -q mask fstrim.timer",
        departs={"SERVICE-UNIT-1 fstrim.timer": "config", "SERVICE-UNIT-2 fstrim.timer": "live"},
    ),
    Fault(
        name="a unit that nobody names fails",
        on="hv4",
        breaks="systemd-run -q --unit=virtvet-broken -p Type=oneshot false || systemctl is-failed -q virtvet-broken",
        restores="systemctl reset-failed virtvet-broken",
        departs={"SERVICE-FAILED-1": "live"},
    ),
    Fault(
        name="a package that must be absent is installed",
        on="hv4",
        breaks=f"mkdir -p {_PACKAGE}/DEBIAN; printf 'Package: telnetd\\nVersion: 0.17\\nArchitecture: all\\n"
        f"Maintainer: nobody <nobody@example.com>\\nDescription: none\\n' > {_PACKAGE}/DEBIAN/control; "
        f"dpkg-deb -b {_PACKAGE} {_PACKAGE}.deb >/dev/null; dpkg -i {_PACKAGE}.deb >/dev/null 2>&1",
        restores=f"dpkg --purge telnetd >/dev/null 2>&1; rm -r {_PACKAGE} {_PACKAGE}.deb",
        departs={"SERVICE-PKG-1 telnetd": "config"},
    ),
)
