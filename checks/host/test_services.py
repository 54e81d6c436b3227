"""Units start at boot and run, nothing has failed, and packages are there in the right version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check, where
from virtvet.expect import OneOf
from virtvet.probes import packages, systemd
from virtvet.probes.systemd import NOT_THERE, Units
from virtvet.profile.services import UnitWants
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget
from virtvet.versions import Satisfies, parse_constraint

SYSTEMCTL = "https://www.freedesktop.org/software/systemd/man/latest/systemctl.html"

ENABLED = Control(
    id="SERVICE-UNIT-1",
    title="A unit starts at boot, or does not",
    area="services",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="What runs now but is not enabled is gone after the next boot, and what was only stopped comes back.",
    hint="systemctl {verb} {unit}",
    references=(SYSTEMCTL + "#is-enabled%20UNIT%E2%80%A6",),
)
ACTIVE = Control(
    id="SERVICE-UNIT-2",
    title="A unit runs, or does not",
    area="services",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="An enabled unit may have failed, or have been stopped by hand; guests depend on it all the same.",
    hint="systemctl {verb} {unit}; systemctl status {unit}",
    references=(SYSTEMCTL + "#is-active%20PATTERN%E2%80%A6",),
)
NONE_FAILED = Control(
    id="SERVICE-FAILED-1",
    title="No unit has failed",
    area="services",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="A unit that failed was meant to do something; nobody reads the journal of a host that boots.",
    hint="systemctl --failed; systemctl status UNIT; systemctl reset-failed UNIT   # once it is mended",
    references=(SYSTEMCTL + "#list-units%20PATTERN%E2%80%A6",),
)
PACKAGE = Control(
    id="SERVICE-PKG-1",
    title="A package is installed in the right version, or not at all",
    area="services",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Known defects of libvirt and QEMU end with a version; what nobody needs is one thing more to attack.",
    hint="apt-get {verb} {package}   # or dnf {verb}; wanted: {expected}",
    references=(
        "https://manpages.debian.org/deb-version.7",
        "https://rpm-software-management.github.io/rpm/man/rpm-version.7",
    ),
)

NOT_ENABLED = OneOf(("disabled", "masked", "indirect", NOT_THERE))
NOT_ACTIVE = OneOf(("inactive", "failed", NOT_THERE))


def _units(host: HostTarget) -> dict[str, UnitWants]:
    return host.wants.services.units if host.wants.services else {}


def _expected(wanted: bool | str, yes: str, no: OneOf) -> object:
    return wanted if isinstance(wanted, str) else yes if wanted else no


def enabled(host: HostTarget) -> Iterator[Case]:
    """Each unit of which it is stated."""
    units = Units.of(_units(host))
    for name, unit in _units(host).items():
        if unit.enabled is not None:
            expected = _expected(unit.enabled, "enabled", NOT_ENABLED)
            verb = {"enabled": "enable", "masked": "mask"}.get(str(expected), "disable")
            yield Case(name, expected, (units, name), words={"unit": name, "verb": verb})


def active(host: HostTarget) -> Iterator[Case]:
    """Each unit of which it is stated."""
    units = Units.of(_units(host))
    for name, unit in _units(host).items():
        if unit.active is not None:
            expected = _expected(unit.active, "active", NOT_ACTIVE)
            verb = "start" if expected == "active" else "stop"
            yield Case(name, expected, (units, name), words={"unit": name, "verb": verb})


def _unit_sources(host: HostTarget) -> Iterable[Source]:
    return Units.of(_units(host)).sources


@check(ENABLED, cases=enabled, sources=_unit_sources, config=systemd.enabled)
def test_unit_starts_at_boot(case: Case, observed: object) -> None:
    """By the files, not by what systemd remembers of them."""
    assert observed == case.expected


@check(ACTIVE, cases=active, sources=_unit_sources, live=systemd.active)
def test_unit_runs(case: Case, observed: object) -> None:
    """As systemd says now."""
    assert observed == case.expected


def failed(host: HostTarget) -> Iterator[Case]:
    """One case a host."""
    if host.wants.services and host.wants.services.no_failed_units:
        yield Case("units", frozenset())


@check(NONE_FAILED, cases=failed, sources=where(failed, (systemd.FAILED,)), live=systemd.failed)
def test_no_unit_has_failed(case: Case, observed: object) -> None:
    """Whichever it is."""
    assert observed == case.expected


def _names(host: HostTarget) -> tuple[str, ...]:
    return tuple(host.wants.services.packages) if host.wants.services else ()


def versions(host: HostTarget) -> Iterator[Case]:
    """Each package."""
    for name, wanted in host.wants.services.packages.items() if host.wants.services else ():
        yield Case(name, _wanted(wanted), (_names(host), name), words={"package": name, "verb": _verb(wanted)})


def _verb(version: str) -> str:
    return "remove" if version == "absent" else "install"


def _wanted(version: str) -> object:
    if version == "absent":
        return packages.NOT_INSTALLED
    return Satisfies(version) if version == "installed" else parse_constraint(version)


@check(
    PACKAGE,
    cases=versions,
    sources=lambda host: packages.sources(_names(host)),
    config=packages.installed,
)
def test_package_is_as_wanted(case: Case, observed: object) -> None:
    """By the package manager that keeps this host."""
    assert observed == case.expected
