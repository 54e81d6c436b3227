"""qemu.conf is read as libvirt reads it, beside what the daemon made of it and what the kernel has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests import looks
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import qemu_conf
from virtvet.probes.accounts import Account
from virtvet.profile.confinement import HostConfinement
from virtvet.snapshot.model import Snapshot, Unreadable

HV3 = "confinement/hv3"
FILE, APPARMOR, SELINUX = (str(one) for one in (qemu_conf.FILE, qemu_conf.APPARMOR, qemu_conf.SELINUX))
QEMU = Account(64055, "libvirt-qemu")


def said(text: str | None, **others: Any) -> Snapshot:
    return looks.look(HV3, {FILE: text, **others})


def test_the_lab() -> None:
    seen = looks.look(HV3)
    assert qemu_conf.setting(seen, "stdio_handler").value == "file"
    assert qemu_conf.driver_config(seen, "none").value == "none"
    assert qemu_conf.driver_live(seen, "none").value == "none"
    assert qemu_conf.account_live(seen, "user").value == QEMU
    with pytest.raises(NotApplicable, match="names no user"):
        qemu_conf.account_config(seen, "user")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("", "seccomp_sandbox", True),
        ("seccomp_sandbox = -1", "seccomp_sandbox", True),
        ("seccomp_sandbox = 0", "seccomp_sandbox", False),
        ("dynamic_ownership = 0", "dynamic_ownership", False),
        ("", "security_require_confined", False),
        ("", "namespaces", {"mount"}),
        ("namespaces = [ ]", "namespaces", set()),
        ("", "stdio_handler", "logd"),
        ("", "max_core", 0),
        ('max_core = "unlimited"', "max_core", "unlimited"),
        ("max_core = 1024", "max_core", 1024),
        ('cgroup_controllers = [ "cpu" ]', "cgroup_controllers", {"cpu"}),
        ("", "cgroup_device_acl", qemu_conf.BUILT_IN),
        ('cgroup_device_acl = [\n  "/dev/null",\n  "/dev/sda"\n]', "cgroup_device_acl", {"/dev/null", "/dev/sda"}),
        ("relaxed_acs_check = 1", "relaxed_acs_check", True),
    ],
)
def test_setting(text: str, key: str, value: object) -> None:
    assert qemu_conf.setting(said(text), key).value == value


def test_without_the_file_libvirt_has_its_defaults() -> None:
    assert qemu_conf.setting(said(None), "remember_owner").value is True


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("namespaces = mount", "namespaces"),
        ('namespaces = "mount"', "namespaces"),
        ('seccomp_sandbox = "1"', "seccomp_sandbox"),
        ("dynamic_ownership = 2", "dynamic_ownership"),
        ('stdio_handler = "none"', "stdio_handler"),
        ("max_core = -1", "max_core"),
        ('max_core = "1G"', "max_core"),
    ],
)
def test_what_libvirt_refuses(text: str, key: str) -> None:
    with pytest.raises(CannotLook, match="libvirt refuses"):
        qemu_conf.setting(said(text), key)


def test_a_file_that_cannot_be_read_is_no_answer() -> None:
    with pytest.raises(CannotLook):
        qemu_conf.setting(looks.look(HV3, {FILE: Unreadable("Permission denied")}), "max_core")


@pytest.mark.parametrize(
    ("word", "user"),
    [("libvirt-qemu", QEMU), ("+64055", QEMU), ("0", Account(0, "root")), ("+4711", Account(4711))],
)
def test_user(word: str, user: Account) -> None:
    assert qemu_conf.account_config(said(f'user = "{word}"'), "user").value == user


@pytest.mark.parametrize("text", ["user = 0", 'user = "nobody-has-it"', 'user = "+"'])
def test_a_user_nobody_has(text: str) -> None:
    with pytest.raises(CannotLook):
        qemu_conf.account_config(said(text), "user")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", qemu_conf.PROBED),
        ('security_driver = "selinux"', "selinux"),
        ('security_driver = [ "apparmor" ]', "apparmor"),
        ('security_driver = [ "selinux", "apparmor" ]', "selinux, apparmor"),
    ],
)
def test_driver_of_the_file(text: str, value: str) -> None:
    assert qemu_conf.driver_config(said(text), "apparmor").value == value


def test_driver_of_the_daemon() -> None:
    models = looks.changed(HV3, "virsh capabilities", "<model>none<", "<model>apparmor<")
    assert qemu_conf.driver_live(looks.look(HV3, models), "apparmor").value == "apparmor"
    for text in ("<capabilities/>", "<a"):
        with pytest.raises(CannotLook):
            qemu_conf.driver_live(looks.look(HV3, {"virsh capabilities": text}), "apparmor")


@pytest.mark.parametrize(
    ("driver", "edit", "value"),
    [
        ("apparmor", {APPARMOR: "Y\n"}, "apparmor"),
        ("apparmor", {}, "apparmor is off"),
        ("apparmor", {APPARMOR: None}, "the kernel has no apparmor"),
        ("selinux", {SELINUX: "1"}, "selinux"),
        ("selinux", {}, "selinux is permissive"),
        ("selinux", {SELINUX: None}, "the kernel has no selinux"),
    ],
)
def test_driver_of_the_kernel(driver: str, edit: dict[str, Any], value: str) -> None:
    assert qemu_conf.driver_actual(looks.look(HV3, edit), driver).value == value


def test_the_kernel_may_have_what_libvirt_does_not_use() -> None:
    with pytest.raises(NotApplicable):
        qemu_conf.driver_actual(looks.look(HV3), "none")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="lets no guest start"):
        HostConfinement.model_validate({"security_driver": "none", "security_require_confined": True})
