"""Kernel modules are loaded, now and at boot, with their parameters; others are kept out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, PerLayer, Severity, check
from virtvet.expect import OneOf
from virtvet.probes import modules, settings
from virtvet.profile.kernel import Modules
from virtvet.remedies.modules import LOAD, LOAD_AT_BOOT
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

MODPROBE_D = "https://manpages.debian.org/modprobe.d.5"
MODULES_LOAD_D = "https://www.freedesktop.org/software/systemd/man/latest/modules-load.d.html"
NESTED_GUESTS = "https://docs.kernel.org/virt/kvm/x86/running-nested-guests.html"

LOADED = Control(
    id="HOST-MOD-1",
    title="A kernel module is loaded, and nothing keeps it out",
    area="kernel",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="Without its module a device, a network or a shared folder is not there when a guest starts. A blacklist "
    "shows only at the next boot.",
    hint="modprobe {module}; grep -rs {module} /etc/modprobe.d /run/modprobe.d /usr/lib/modprobe.d",
    references=(MODPROBE_D,),
)
AT_BOOT = Control(
    id="HOST-MOD-2",
    title="A kernel module is loaded at boot",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="What was loaded by hand, or by the first guest that needed it, is not there after a boot.",
    hint="echo {module} > /etc/modules-load.d/{module}.conf",
    references=(MODULES_LOAD_D,),
)
BLOCKED = Control(
    id="HOST-MOD-3",
    title="A kernel module is not loaded, and is kept out",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="A driver that takes a device on the host takes it from the guest; a module nobody needs is one thing "
    "more to attack.",
    hint="echo 'install {module} /bin/false' >> /etc/modprobe.d/{module}.conf; modprobe -r {module}; "
    "update-initramfs -u   # Fedora, RHEL: dracut -f",
    references=(MODPROBE_D,),
)
PARAMETER = Control(
    id="HOST-MOD-4",
    title="A module's parameter is as stated",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Many parameters are read when the module is loaded: what modprobe.d says and what the kernel does may "
    "differ until then, and a value written to /sys is gone at the next boot.",
    hint="cat /sys/module/{module}/parameters/{parameter}; "
    "echo 'options {module} {parameter}={value}' >> /etc/modprobe.d/{module}.conf",
    references=(MODPROBE_D, "https://docs.kernel.org/admin-guide/kernel-parameters.html"),
)
NESTED = Control(
    id="HOST-MOD-5",
    title="Guests can, or cannot, run guests",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Nested virtualization is what some guests are for, and for others only a larger surface to attack.",
    hint="grep . /sys/module/kvm_*/parameters/nested; grep -rs nested /etc/modprobe.d   # options kvm_intel nested=…",
    references=(NESTED_GUESTS,),
)


def _wants(host: HostTarget) -> Modules:
    return (host.wants.kernel and host.wants.kernel.modules) or Modules()


def _cases(names: Iterable[str], expected: object) -> Iterator[Case]:
    return (Case(name, expected, (name,), words={"module": name.replace("-", "_")}) for name in dict.fromkeys(names))


def loaded(host: HostTarget) -> Iterable[Case]:
    """Each module that must be loaded, or loaded at boot."""
    wants = _wants(host)
    expected = PerLayer(config=modules.FREE, actual=OneOf((modules.LOADED, modules.BUILT_IN)))
    return _cases((*wants.loaded, *wants.at_boot), expected)


def at_boot(host: HostTarget) -> Iterable[Case]:
    """Each module that must be loaded at boot."""
    return _cases(_wants(host).at_boot, OneOf((modules.AT_BOOT, modules.BUILT_IN)))


def blocked(host: HostTarget) -> Iterable[Case]:
    """Each module that must be kept out."""
    expected = PerLayer(config=OneOf((modules.BLOCKED, modules.NOT_INSTALLED)), actual=modules.NOT_LOADED)
    return _cases(_wants(host).blocked, expected)


def parameters(host: HostTarget) -> Iterable[Case]:
    """Each parameter."""
    for name, stated in _wants(host).parameters.items():
        module, _dot, parameter = name.replace("-", "_").partition(".")
        expected = settings.expected(stated)
        words = {"module": module, "parameter": parameter, "value": settings.nearest(expected)}
        yield Case(name, expected, (module, parameter, settings.is_persistent(stated)), words=words)


def nested(host: HostTarget) -> Iterable[Case]:
    """The host, where stated."""
    if host.wants.kernel and host.wants.kernel.nested is not None:
        yield Case("nested", host.wants.kernel.nested)


def _sources(host: HostTarget) -> Iterator[Source]:
    wants = _wants(host)
    for module in (*wants.loaded, *wants.at_boot, *wants.blocked):
        yield from (*modules.sources(module), *modules.CONFIG_SOURCES)


def _parameter_sources(host: HostTarget) -> Iterator[Source]:
    for case in parameters(host):
        module, parameter, _persistent = case.args
        yield from (modules.parameter_file(module, parameter), *modules.sources(module), *modules.CONFIG_SOURCES)


def _nested_sources(host: HostTarget) -> Iterator[Source]:
    return (source for _case in nested(host) for source in modules.NESTED_SOURCES)


@check(LOADED, cases=loaded, sources=_sources, config=modules.blocking, actual=modules.actual, remedy=LOAD)
def test_module_is_loaded(case: Case, observed: object) -> None:
    """modprobe.d and the command line for the next boot; /sys/module for now."""
    assert observed == case.expected


@check(AT_BOOT, cases=at_boot, sources=_sources, config=modules.at_boot, remedy=LOAD_AT_BOOT)
def test_module_is_loaded_at_boot(case: Case, observed: object) -> None:
    """modules-load.d, unless modprobe.d keeps it out."""
    assert observed == case.expected


@check(BLOCKED, cases=blocked, sources=_sources, config=modules.blocking, actual=modules.actual)
def test_module_is_kept_out(case: Case, observed: object) -> None:
    """A blacklist keeps udev from loading it, `install … /bin/false` everybody."""
    assert observed == case.expected


@check(
    PARAMETER,
    cases=parameters,
    sources=_parameter_sources,
    config=modules.parameter_config,
    actual=modules.parameter_actual,
)
def test_parameter_is_as_stated(case: Case, observed: object) -> None:
    """modprobe.d and the command line for the next time it is loaded; /sys/module for now."""
    assert observed == case.expected


@check(
    NESTED,
    cases=nested,
    sources=_nested_sources,
    config=modules.nested_config,
    actual=modules.nested_actual,
)
def test_guests_can_run_guests(case: Case, observed: object) -> None:
    """Where no file sets it, what is seen is the default."""
    assert observed == case.expected
