"""What holds QEMUs: hv3 of the image lab, which has neither AppArmor nor SELinux; labels as constructed text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from pydantic import ValidationError

from tests import looks
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import accounts, confinement
from virtvet.probes.accounts import Account
from virtvet.probes.confinement import BY_FORMULA, CAPABILITIES
from virtvet.profile.confinement import Confinement
from virtvet.snapshot.model import Absent, Answer, Unreadable

HV3 = "confinement/hv3"
QEMU = Account(64055, "libvirt-qemu")
NIC, TUNED = (looks.pid(HV3, guest) for guest in ("nic", "tuned"))
VCPU = f"/proc/{TUNED}/task/{looks.thread(HV3, 'tuned', 'CPU 0/KVM')}/status"
CURRENT, OWN = f"/proc/{TUNED}/attr/current", f"/proc/{TUNED}/attr/apparmor/current"
NAME = "libvirt-7f3c0000-0000-4000-8000-000000000301"
CONTEXT = "system_u:system_r:svirt_t:s0:c87,c320"


def values(found: Reading | Iterable[Reading]) -> list[Any]:
    return [found.value] if isinstance(found, Reading) else [reading.value for reading in found]


def status(key: str, value: str) -> dict[str, str]:
    """The edit that gives one thread another line in its status."""
    lines = looks.recorded(HV3)[VCPU].splitlines()
    return {VCPU: "".join(f"{key}:\t{value}\n" if line.startswith(f"{key}:") else f"{line}\n" for line in lines)}


# --- recorded


@pytest.mark.parametrize("guest", ["tuned", "nic"])
def test_the_lab_is_confined(guest: str) -> None:
    seen = looks.look(HV3)
    for probe in (confinement.account_config, confinement.account_live, confinement.account_actual):
        assert values(probe(seen, guest, "user")) == [QEMU]
        assert values(probe(seen, guest, "group")) == [QEMU]
    assert values(confinement.groups(seen, guest)) == [{QEMU, Account(104, "kvm")}]
    assert values(confinement.capabilities(seen, guest)) == [frozenset()] * 4
    assert values(confinement.seccomp(seen, guest)) == [True]
    assert values(confinement.no_new_privs(seen, guest)) == [True]
    assert confinement.mount_namespace(seen, guest).value is True
    assert confinement.core(seen, guest).value == 0
    for probe in (confinement.label_config, confinement.label_live, confinement.label_actual):
        assert values(probe(seen, guest)) == ["none"]


@pytest.mark.parametrize(("guest", "limit"), [("tuned", 600 << 20), ("nic", (128 << 20) + (1 << 30))])
def test_the_lab_may_lock_what_the_formula_says(guest: str, limit: int) -> None:
    seen = looks.look(HV3)
    assert confinement.memlock(seen, guest, "unlimited").value == limit
    assert confinement.memlock(seen, guest, "formula").value == BY_FORMULA


# --- one thread is enough


@pytest.mark.parametrize(
    ("probe", "key", "written", "value"),
    [
        (confinement.seccomp, "Seccomp", "0", False),
        (confinement.seccomp, "Seccomp", "1", False),
        (confinement.no_new_privs, "NoNewPrivs", "0", False),
        (confinement.capabilities, "CapEff", "0000000000001000", {"net_admin"}),
        (confinement.capabilities, "CapPrm", "000001ffffffffff", set(CAPABILITIES)),
        (confinement.capabilities, "CapAmb", "0000020000000001", {"chown", "cap_41"}),
        (confinement.capabilities, "CapInh", "0000000000200000", {"sys_admin"}),
        (confinement.groups, "Groups", "6 104", {Account(6, "disk"), Account(104, "kvm")}),
        (confinement.groups, "Groups", "", set()),
    ],
)
def test_one_thread_that_differs_is_seen(probe: Any, key: str, written: str, value: object) -> None:
    found = list(probe(looks.look(HV3, status(key, written)), "tuned"))
    (other,) = [reading for reading in found if reading.source.startswith(VCPU)]
    assert other.value == value
    assert "CPU 0/KVM" in other.source


@pytest.mark.parametrize(
    ("written", "value"),
    [("0\t0\t0\t0", Account(0, "root")), ("64055\t0\t0\t0", "libvirt-qemu (64055), root (0), root (0), root (0)")],
)
def test_all_four_ids_count(written: str, value: object) -> None:
    assert value in values(confinement.account_actual(looks.look(HV3, status("Uid", written)), "tuned", "user"))


@pytest.mark.parametrize(
    ("probe", "args", "edit"),
    [
        (confinement.seccomp, (), status("Seccomp", "2").fromkeys([VCPU], "Name:\tx\n")),
        (confinement.capabilities, (), status("CapEff", "all")),
        (confinement.groups, (), status("Groups", "kvm")),
        (confinement.account_actual, ("user",), status("Uid", "1 2 3")),
        (confinement.mount_namespace, (), {"confinement.NAMESPACES": "/proc/1/ns/mnt mnt:[1]\n/proc/self/ns/mnt \n"}),
        (confinement.core, (), {f"/proc/{TUNED}/limits": "Limit\n"}),
        (confinement.core, (), {f"/proc/{TUNED}/limits": None}),
        (confinement.label_actual, (), {CURRENT: "what\n"}),
        (confinement.label_actual, (), {CURRENT: Unreadable("Permission denied")}),
        (confinement.label_actual, (), {CURRENT: None, OWN: None}),
    ],
)
def test_what_cannot_be_understood_is_no_answer(probe: Any, args: tuple[str, ...], edit: dict[str, Any]) -> None:
    with pytest.raises(CannotLook):
        values(probe(looks.look(HV3, edit), "tuned", *args))


# --- the account in XML


def labelled(written: str, document: str = "virsh dumpxml tuned") -> dict[str, str]:
    """The edit that gives a guest these `<seclabel>`s and no others."""
    head, _, _ = looks.recorded(HV3)[document].partition("  <seclabel")
    return {document: f"{head.removesuffix('</domain>' + chr(10))}{written}</domain>\n"}


STORED = "virsh dumpxml --inactive tuned"


@pytest.mark.parametrize(
    ("written", "user"),
    [
        ("<seclabel type='static' model='dac' relabel='yes'><label>+0:+0</label></seclabel>", Account(0, "root")),
        ("<seclabel type='static' model='dac'><label>libvirt-qemu:kvm</label></seclabel>", QEMU),
        ("<seclabel type='static' model='dac'><label>4711:+104</label></seclabel>", Account(4711)),
        ("<seclabel type='none' model='dac'/>", Account(0, "root")),
        ("<seclabel type='dynamic' model='dac'/>", QEMU),
        ("", QEMU),
    ],
)
def test_an_account_of_its_own(written: str, user: Account) -> None:
    assert confinement.account_config(looks.look(HV3, labelled(written, STORED)), "tuned", "user").value == user
    assert confinement.account_live(looks.look(HV3, labelled(written)), "tuned", "user").value == user


@pytest.mark.parametrize("label", ["nobody", "who:kvm", "a:b:c"])
def test_an_account_nobody_has_is_no_answer(label: str) -> None:
    edit = labelled(f"<seclabel type='static' model='dac'><label>{label}</label></seclabel>")
    with pytest.raises(CannotLook):
        confinement.account_live(looks.look(HV3, edit), "tuned", "user")


def test_accounts_by_name_and_number() -> None:
    assert accounts.Is("libvirt-qemu").matches(QEMU)
    assert accounts.Is("64055").matches(QEMU)
    assert not accounts.Is("kvm").matches(Account(7))
    both = frozenset({QEMU, Account(104, "kvm")})
    assert accounts.Are(frozenset({"kvm", "64055"})).matches(both)
    assert not accounts.Are(frozenset({"kvm"})).matches(both)
    assert not accounts.Are(frozenset({"kvm", "64055", "disk"})).matches(both)


# --- AppArmor and SELinux, constructed


def told(model: str, label: str) -> dict[str, str]:
    return labelled(f"<seclabel type='dynamic' model='{model}' relabel='yes'><label>{label}</label></seclabel>")


NO_ATTRIBUTE: Answer = Unreadable("Invalid argument")


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        ({OWN: f"{NAME} (enforce)\n", **told("apparmor", NAME)}, "apparmor"),
        ({OWN: None, CURRENT: f"{NAME} (enforce)\n", **told("apparmor", NAME)}, "apparmor"),
        ({OWN: f"{NAME} (complain)\n", **told("apparmor", NAME)}, "apparmor, but in mode complain"),
        ({OWN: "unconfined\n", **told("apparmor", NAME)}, "none"),
        ({OWN: "libvirtd (enforce)\n", **told("apparmor", NAME)}, "apparmor, but by profile libvirtd"),
        ({OWN: f"{NAME} (enforce)\n"}, f"apparmor, but by profile {NAME}"),
        ({CURRENT: f"{CONTEXT}\0", "/sys/fs/selinux/enforce": "1", **told("selinux", CONTEXT)}, "selinux"),
        ({CURRENT: CONTEXT, "/sys/fs/selinux/enforce": "0", **told("selinux", CONTEXT)}, "selinux, but permissive"),
        ({CURRENT: "system_u:system_r:virtd_t:s0", "/sys/fs/selinux/enforce": "1"}, "selinux, but with type virtd_t"),
        ({CURRENT: NO_ATTRIBUTE}, "none"),
        ({CURRENT: NO_ATTRIBUTE, OWN: None}, "none"),
    ],
)
def test_what_the_kernel_enforces(edit: dict[str, Any], value: str) -> None:
    assert confinement.label_actual(looks.look(HV3, edit), "tuned").value == value


DAEMON = looks.recorded(HV3)["/run/libvirtd.pid"].strip()
ITS, ITS_OWN = f"/proc/{DAEMON}/attr/current", f"/proc/{DAEMON}/attr/apparmor/current"
ENFORCING = "/sys/fs/selinux/enforce"


@pytest.mark.parametrize(
    ("edit", "value"),
    [
        ({}, "none"),
        ({ITS: "unconfined\n", ITS_OWN: "unconfined\n"}, "none"),  # hv3 with apparmor=1 security=apparmor
        ({ITS_OWN: "libvirtd (enforce)\n"}, "apparmor"),
        ({ITS_OWN: "libvirtd (complain)\n"}, "apparmor, but in mode complain"),
        ({ITS: "system_u:system_r:virtd_t:s0-s0:c0.c1023\0", ENFORCING: "1"}, "selinux"),
        ({ITS: "system_u:system_r:virtd_t:s0", ENFORCING: "0"}, "selinux, but permissive"),
        (
            {ITS: "system_u:system_r:unconfined_service_t:s0", ENFORCING: "1"},
            "selinux, but with type unconfined_service_t",
        ),
    ],
)
def test_what_holds_the_daemon(edit: dict[str, Any], value: str) -> None:
    assert confinement.daemon_label(looks.look(HV3, edit)).value == value


@pytest.mark.parametrize(
    "edit", [{ITS: "what\n"}, {ITS: None, ITS_OWN: None}, {ITS: Unreadable("denied")}, {"/run/libvirtd.pid": None}]
)
def test_a_daemon_nobody_can_look_at(edit: dict[str, Any]) -> None:
    with pytest.raises(CannotLook):
        confinement.daemon_label(looks.look(HV3, edit))


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("<seclabel type='dynamic' model='apparmor'/>", "apparmor"),
        ("<seclabel type='none' model='apparmor'/>", "none"),
        ("<seclabel type='none'/>", "none"),
        ("<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>", "apparmor"),
        ("", "apparmor"),
    ],
)
def test_what_the_next_start_is_confined_by(written: str, value: str) -> None:
    models = looks.changed(HV3, "virsh capabilities", "<model>none<", "<model>apparmor<")
    seen = looks.look(HV3, models | labelled(written, STORED))
    assert confinement.label_config(seen, "tuned").value == value
    loose = looks.look(HV3, models | {"/etc/libvirt/qemu.conf": "security_default_confined = 0\n"})
    assert confinement.label_config(loose, "tuned").value == "none"


# --- the mount namespace and limits


@pytest.mark.parametrize(("own", "value"), [("mnt:[4026531841]", False), ("mnt:[4026539999]", True)])
def test_a_namespace_of_its_own(own: str, value: bool) -> None:
    said = "".join(
        f"/proc/{one}\n"
        for one in ("1/ns/mnt mnt:[4026531841]", "self/ns/mnt mnt:[4026530000]", f"{TUNED}/ns/mnt {own}")
    )
    assert confinement.mount_namespace(looks.look(HV3, {"confinement.NAMESPACES": said}), "tuned").value is value


DEVICE = "<hostdev mode='subsystem' type='pci' managed='yes'/>"
MEMORY = 128 << 20


@pytest.mark.parametrize(
    ("inner", "devices", "due"),
    [
        ("", "", 67108864),
        ("<memtune><hard_limit unit='KiB'>1000001</hard_limit></memtune>", DEVICE, 1024001024),
        ("<memoryBacking><locked/></memoryBacking>", DEVICE, "unlimited"),
        ("", DEVICE, MEMORY + (1 << 30)),
        ("", DEVICE * 3, MEMORY + (1 << 30)),
        ("", f"{DEVICE * 3}<iommu model='intel'/>", 3 * MEMORY + (1 << 30)),
        ("", "<interface type='hostdev'/>", MEMORY + (1 << 30)),
        ("", f"{DEVICE}<interface type='vdpa'/><disk type='nvme'/>", 3 * MEMORY + (1 << 30)),
        ("", "<hostdev mode='subsystem' type='usb'/><disk type='file'/>", 67108864),
    ],
)
def test_formula(inner: str, devices: str, due: int | str) -> None:
    xml = f"<domain><memory unit='KiB'>131072</memory>{inner}<devices>{devices}</devices></domain>"
    seen = looks.look(HV3, {"virsh dumpxml tuned": xml})
    assert confinement.formula(seen, "tuned")[0] == due
    assert confinement.memlock(seen, "tuned", "formula").value != BY_FORMULA


def test_the_formula_needs_libvirt() -> None:
    with pytest.raises(NotApplicable):
        confinement.formula(looks.look(HV3, looks.by_hand(HV3, "tuned")), "tuned")
    usual = "<domain><memory unit='KiB'>131072</memory></domain>"
    for missing in ("/run/libvirtd.pid", f"/proc/{looks.recorded(HV3)['/run/libvirtd.pid']}/limits"):
        with pytest.raises(CannotLook):
            confinement.formula(looks.look(HV3, {"virsh dumpxml tuned": usual, missing: None}), "tuned")


def test_limits_may_be_none() -> None:
    text = looks.recorded(HV3)[f"/proc/{NIC}/limits"].replace(
        "Max core file size        0 ", "Max core file size        unlimited "
    )
    assert confinement.core(looks.look(HV3, {f"/proc/{NIC}/limits": text}), "nic").value == "unlimited"


# --- guests without libvirt, and the profile


def test_a_guest_started_by_hand_is_judged_by_the_kernel() -> None:
    seen = looks.look(HV3, looks.by_hand(HV3, "tuned"))
    assert values(confinement.account_actual(seen, "tuned", "user")) == [QEMU]
    assert confinement.label_actual(seen, "tuned").value == "none"
    with pytest.raises(NotApplicable):
        confinement.label_live(seen, "tuned")


def test_a_profile_may_say() -> None:
    wants = Confinement.model_validate({"user": 64055, "capabilities": ["net_admin"], "memlock": "64 MiB", "core": 0})
    assert (wants.user, wants.memlock, wants.core) == ("64055", 64 << 20, 0)
    assert Confinement.model_validate(wants.model_dump()) == wants


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"user": "root:root"}, "is no account"),
        ({"user": True}, "is no account"),
        ({"memlock": "much"}, "is no size"),
        ({"capabilities": ["CAP_NET_ADMIN"]}, "is no capability"),
        ({"security": "tomoyo"}, "apparmor"),
    ],
)
def test_what_a_profile_may_not_say(written: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Confinement.model_validate(written)


def test_absent_is_no_namespace() -> None:
    with pytest.raises(CannotLook):
        confinement.mount_namespace(looks.look(HV3, {"confinement.NAMESPACES": Absent()}), "tuned")
