"""Kernel modules. What modprobe.d and modules-load.d hold is written by hand; modinfo's words and sysfs are those of a
Debian 12."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.unit.certificate_maker import TAKEN
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import boot_loader, dropins, kernel_cmdline, modules
from virtvet.probes.modules import (
    AT_BOOT,
    BLOCKED,
    BUILT_IN,
    FREE,
    LOADED,
    NESTED,
    NOT_AT_BOOT,
    NOT_INSTALLED,
    NOT_LOADED,
)
from virtvet.probes.settings import NOT_SET
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Snapshot, Status, Unreadable
from virtvet.snapshot.sources import Command, File, Glob, Source, Stat

FOLDER = Status("directory", 0o755, "root", "root", 0, 0, 0)
FILES = {
    "vfio_pci": "filename:       /lib/modules/6.1.0-56-amd64/kernel/drivers/vfio/pci/vfio-pci.ko\0name=vfio_pci\0",
    "kvm_amd": "filename:       /lib/modules/6.1.0-56-amd64/kernel/arch/x86/kvm/kvm-amd.ko.xz\0name=kvm_amd\0",
    "pcspkr": "filename:       /lib/modules/6.1.0-56-amd64/kernel/drivers/input/misc/pcspkr.ko\0alias=pc\0",
    "virtio_console": "name:           virtio_console\0filename:       (builtin)\0license=GPL\0",
}
NOT_FOUND = ("nosuch", "printk", "dummy", *NESTED)
ANSWER = Completed(
    1,
    "".join(FILES[name] for name in sorted(FILES)).encode(),
    "".join(f"modinfo: ERROR: Module {name} not found.\n" for name in NOT_FOUND if name not in FILES).encode(),
)
LIVE = {"/sys/module/kvm_amd/initstate": "live\n", "/sys/module/kvm_amd/parameters/nested": "1\n"}
BUILTIN = {"/sys/module/printk/parameters/time": "Y\n"}
GOING = {"/sys/module/pcspkr/initstate": "going\n"}


def looked(files: Mapping[str, object] = {}, **others: object) -> Snapshot:
    """A host with these files and links to /dev/null, whose modules are FILES."""
    files = {"/proc/cmdline": "ro quiet\n", **files}
    answers = dict(_answers({path: one for path, one in files.items() if one != "/dev/null"}))
    hiding = "".join(f"{path}\n" for path, one in files.items() if one == "/dev/null").encode()
    complaint = b"find: '/run/sysctl.d': No such file or directory\n"
    answers[dropins.HIDING] = others.get("hiding", Completed(1, hiding, complaint))  # type: ignore[assignment]
    return Snapshot("hv1", TAKEN, answers)


def _answers(files: Mapping[str, object]) -> Iterator[tuple[Source, Answer]]:
    def answer(path: str) -> Answer:
        found = files.get(path, Absent())
        return Content(found.encode()) if isinstance(found, str) else found  # type: ignore[return-value]

    named = {name: modules.sources(name) for name in (*FILES, *NOT_FOUND)}
    parameters = [modules.parameter_file(name, parameter) for name in named for parameter in ("nested", "time", "ids")]
    every = [one for sources in named.values() for one in sources]
    for source in (*every, *parameters, *modules.CONFIG_SOURCES, *boot_loader.SOURCES, kernel_cmdline.RUNNING):
        match source:
            case File(path):
                yield source, answer(path)
            case Glob(pattern):
                folder = pattern.rpartition("/")[0]
                yield source, {path: answer(path) for path in files if path.rpartition("/")[0] == folder}  # type: ignore[misc]
            case Stat(path):
                yield source, FOLDER if any(one.startswith(f"{path}/") for one in files) else Absent()
            case Command(argv) if argv[0] == "modinfo":
                yield source, ANSWER


@pytest.mark.parametrize(
    ("files", "module", "value"),
    [
        (LIVE, "kvm-amd", LOADED),
        (LIVE, "vfio_pci", NOT_LOADED),
        (LIVE, "nosuch", NOT_LOADED),
        (LIVE, "virtio_console", BUILT_IN),
        (BUILTIN, "printk", BUILT_IN),
        (GOING, "pcspkr", "going"),
    ],
)
def test_loaded(files: Mapping[str, object], module: str, value: str) -> None:
    assert modules.actual(looked(files), module).value == value


@pytest.mark.parametrize(
    "answer",
    [
        Absent(),
        Completed(1, b"", b"modinfo: ERROR: could not read"),
        Completed(1, b"", b"modinfo: ERROR: Module old_vfio_pci not found.\nmodinfo: ERROR: Module vfio not found.\n"),
        Completed(0, FILES["kvm_amd"].encode(), b""),
        Completed(0, b"filename:       /lib/modules/6.1/kernel/old-vfio-pci.ko\0description=vfio_pci\0", b""),
        Completed(0, b"description=filename: /vfio_pci.ko\0filename:       (builtin)\0", b""),
        Unreadable("late"),
    ],
)
def test_loaded_beyond_understanding(answer: Answer) -> None:
    look = looked()
    blind = Snapshot("hv1", TAKEN, {**look.answers, modules.installed_file("vfio_pci"): answer})
    for probe in (modules.actual, modules.blocking, modules.at_boot):
        with pytest.raises(CannotLook):
            probe(blind, "vfio_pci")


GRUB = "menuentry a {\nlinux /vmlinuz ro WORDS\n}\n"


@pytest.mark.parametrize(
    ("files", "value", "source"),
    [
        ({}, FREE, "modprobe.d"),
        ({"/etc/modprobe.d/a.conf": "# blacklist vfio_pci\n"}, FREE, "modprobe.d"),
        ({"/etc/modprobe.d/a.conf": "\nblacklist  vfio-pci\n"}, BLOCKED, "/etc/modprobe.d/a.conf:2"),
        ({"/etc/modprobe.d/a.conf": "install vfio* /bin/false # no\n"}, BLOCKED, "/etc/modprobe.d/a.conf:1"),
        ({"/etc/modprobe.d/a.conf": "install vfio_pci /sbin/modprobe -i vfio_pci\n"}, FREE, "modprobe.d"),
        ({"/etc/modprobe.d/a.conf": "blacklist vfio\n"}, FREE, "modprobe.d"),
        ({"/etc/modprobe.d/a.conf": "options x \\\n y=1\nblacklist vfio_pci\n"}, BLOCKED, "/etc/modprobe.d/a.conf:3"),
        ({"/etc/modprobe.d/a.conf": "", "/lib/modprobe.d/a.conf": "blacklist vfio_pci\n"}, FREE, "modprobe.d"),
        ({"/run/modprobe.d/a.conf": "/dev/null", "/lib/modprobe.d/a.conf": "blacklist vfio_pci\n"}, FREE, "modprobe.d"),
        (
            {"/run/modprobe.d/b.conf": "/dev/null", "/lib/modprobe.d/a.conf": "blacklist vfio_pci\n"},
            BLOCKED,
            "/lib/modprobe.d/a.conf:1",
        ),
        ({"/proc/cmdline": "ro modprobe.blacklist=a,vfio-pci"}, BLOCKED, "/proc/cmdline"),
        (
            {"/boot/grub/grub.cfg": GRUB.replace("WORDS", "module_blacklist=vfio_pci")},
            BLOCKED,
            "/boot/grub/grub.cfg:2",
        ),
        ({"/boot/grub/grub.cfg": GRUB, "/proc/cmdline": "modprobe.blacklist=vfio_pci"}, FREE, "modprobe.d"),
    ],
)
def test_blocked(files: Mapping[str, object], value: str, source: str) -> None:
    found = modules.blocking(looked(files), "vfio_pci")
    assert (found.value, found.source) == (value, source)


def test_what_is_not_installed_is_never_loaded() -> None:
    files = {"/etc/modules-load.d/a.conf": "nosuch\n"}
    assert modules.blocking(looked(files), "nosuch").value == NOT_INSTALLED
    assert modules.at_boot(looked(files), "nosuch").value == NOT_INSTALLED


@pytest.mark.parametrize(
    ("files", "module", "value"),
    [
        ({"/etc/modules-load.d/a.conf": "# b\n; c\nvfio\nvfio-pci disable_vga=1\n"}, "vfio_pci", AT_BOOT),
        ({"/usr/lib/modules-load.d/a.conf": "vfio_pci\n"}, "vfio_pci", AT_BOOT),
        ({"/usr/lib/modules-load.d/a.conf": "vfio_pci\n", "/etc/modules-load.d/a.conf": ""}, "vfio_pci", NOT_AT_BOOT),
        ({"/etc/modules-load.d/a.conf": "vfio\n"}, "vfio_pci", NOT_AT_BOOT),
        (
            {"/etc/modules-load.d/a.conf": "vfio_pci\n", "/etc/modprobe.d/b.conf": "blacklist vfio_pci"},
            "vfio_pci",
            BLOCKED,
        ),
        ({"/proc/cmdline": "modules-load=vhost_net,vfio-pci"}, "vfio_pci", AT_BOOT),
        ({}, "virtio_console", BUILT_IN),
    ],
)
def test_at_boot(files: Mapping[str, object], module: str, value: str) -> None:
    assert modules.at_boot(looked(files), module).value == value


@pytest.mark.parametrize(
    ("files", "value", "source"),
    [
        ({"/etc/modprobe.d/k.conf": "options kvm-amd nested=0 npt=1\n"}, "0", "/etc/modprobe.d/k.conf:1"),
        ({"/etc/modprobe.d/k.conf": "options kvm_amd nested\n"}, "1", "/etc/modprobe.d/k.conf:1"),
        ({"/etc/modprobe.d/k.conf": "options kvm nested=0\n"}, NOT_SET, "modprobe.d"),
        (
            {
                "/etc/modprobe.d/k.conf": "options kvm_amd nested=0\n",
                "/lib/modprobe.d/z.conf": "options kvm_amd nested=Y",
            },
            "1",
            "/lib/modprobe.d/z.conf:1",
        ),
        (
            {"/etc/modprobe.d/k.conf": "options kvm_amd nested=0\n", "/proc/cmdline": "kvm-amd.nested=1"},
            "1",
            "/proc/cmdline",
        ),
        ({}, NOT_SET, "modprobe.d"),
    ],
)
def test_parameter_at_the_next_load(files: Mapping[str, object], value: str, source: str) -> None:
    found = modules.parameter_config(looked({**LIVE, **files}), "kvm_amd", "nested", True)
    assert (found.value, found.source) == (value, source)


def test_what_is_built_in_heeds_no_modprobe() -> None:
    files = {**BUILTIN, "/etc/modprobe.d/k.conf": "options printk time=0\n"}
    assert modules.parameter_config(looked(files), "printk", "time", True).value == NOT_SET
    files |= {"/proc/cmdline": "printk.time=n"}
    assert modules.parameter_config(looked(files), "printk", "time", True).value == "0"


def test_parameter_now() -> None:
    look = looked({**LIVE, **BUILTIN})
    assert modules.parameter_actual(look, "kvm_amd", "nested", True).value == "1"
    assert modules.parameter_actual(look, "printk", "time", True).value == "1"
    assert modules.parameter_actual(look, "vfio_pci", "ids", True).value == NOT_LOADED
    with pytest.raises(NotApplicable, match="does not show"):
        modules.parameter_actual(look, "kvm_amd", "ids", True)


def test_where_no_file_must_set_it_none_need() -> None:
    with pytest.raises(NotApplicable, match="no file sets it"):
        modules.parameter_config(looked(LIVE), "kvm_amd", "nested", False)


def test_nested() -> None:
    intel = {"/sys/module/kvm_intel/initstate": "live\n", "/sys/module/kvm_intel/parameters/nested": "Y\n"}
    assert modules.nested_actual(looked(intel)).value is True
    assert modules.nested_actual(looked({"/sys/module/kvm_intel/parameters/nested": "N\n"})).value is False
    assert modules.nested_actual(looked()).value is False
    set_by = {"/etc/modprobe.d/k.conf": "options kvm_intel nested=0\noptions kvm_amd nested=1"}
    assert modules.nested_config(looked(intel | set_by)) == Reading(
        False, "/etc/modprobe.d/k.conf:1", "options kvm_intel nested=0"
    )
    for none in (intel, {}):
        with pytest.raises(NotApplicable):
            modules.nested_config(looked(none))


@pytest.mark.parametrize(
    "hiding", [Absent(), Unreadable("late"), Completed(1, b"", b"find: '/etc': Permission denied\n")]
)
def test_drop_ins_beyond_reach(hiding: Answer) -> None:
    with pytest.raises(CannotLook):
        modules.blocking(looked(hiding=hiding), "vfio_pci")
    with pytest.raises(CannotLook):
        modules.blocking(looked({"/etc/modprobe.d/a.conf": Unreadable("denied")}), "vfio_pci")
