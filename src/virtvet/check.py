"""What a check is: a control (why and how bad), cases (what is expected) and one probe a layer (what is seen).

    @check(VCPU_PIN, cases=vcpus, sources=pins.SOURCES, config=pins.vcpu_config, actual=pins.vcpu_actual)
    def test_vcpu_runs_only_on_its_pins(case, observed):
        assert observed == case.expected

A probe is a pure function `(snapshot, *case.args) -> Reading | Iterable[Reading]`. It raises CannotLook when its source
cannot be read, NotApplicable where the layer does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from virtvet.expect import Unit
from virtvet.snapshot.sources import HostSource, Source

if TYPE_CHECKING:
    from virtvet.remedies.change import Exercise, Remedy
    from virtvet.snapshot.model import Snapshot
    from virtvet.target import GuestTarget, HostTarget


class Layer(StrEnum):
    """Where a setting is read."""

    CONFIG = "config"
    LIVE = "live"
    ACTUAL = "actual"
    GUEST = "guest"


class Severity(StrEnum):
    """How bad a departure is; the order is the order of reports."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Control:
    """One thing that must hold. `id` is stable for ever; `hint` is what mends it, a format string over
    {host} {guest} {subject} {expected} and the names in Case.words."""

    id: str
    title: str
    area: str
    severity: Severity
    requirement: str
    rationale: str
    hint: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One value seen. `source` names the file, API or command; `excerpt` is the raw text it was read from (short)."""

    value: Any
    source: str
    excerpt: str = ""


Probe = Callable[..., "Reading | Iterable[Reading]"]


class PerLayer(dict[Layer, Any]):
    """Expected values that differ by layer: `PerLayer(config=1024001024, actual=1024000000)`."""

    def __init__(self, **layers: Any) -> None:
        super().__init__({Layer(name): value for name, value in layers.items()})


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation. `subject` is unique within its control and host ("web1/vcpu0"); `args` go to the probes.

    `guest` is the guest whose domain must run and, for a guest layer, be reachable; None for a matter of the host.
    `unit`: what whole numbers count, for reports.
    """

    subject: str
    expected: Any
    args: tuple[Any, ...] = ()
    guest: str | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    unit: Unit = ""

    def expected_on(self, layer: Layer) -> Any:
        """What this layer must show."""
        return self.expected[layer] if isinstance(self.expected, PerLayer) else self.expected


@dataclass(frozen=True, slots=True)
class Check:
    """A control with everything needed to judge it. Made by `@check`, read by the plugin and by `virtvet controls`."""

    control: Control
    test: str
    cases: Callable[[HostTarget], Iterable[Case]]
    probes: Mapping[Layer, Probe]
    sources: Callable[[HostTarget], Iterable[Source]]
    guest_sources: Callable[[GuestTarget], Iterable[HostSource]]
    remedy: Remedy | None = None
    prerequisite: str = ""
    """What others need and this check reports, once: "host", "libvirt", "guest"; such a check is always selected."""
    exercise: Exercise | None = None
    """What is done before its layers are read: such a check runs only when asked for."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers this check reads, in their fixed order."""
        return tuple(layer for layer in Layer if layer in self.probes)


ATTRIBUTE = "__virtvet_check__"


def check(
    control: Control,
    *,
    cases: Callable[[HostTarget], Iterable[Case]],
    sources: Iterable[Source] | Callable[[HostTarget], Iterable[Source]] = (),
    guest_sources: Iterable[HostSource] | Callable[[GuestTarget], Iterable[HostSource]] = (),
    remedy: Remedy | None = None,
    exercise: Exercise | None = None,
    prerequisite: str = "",
    **layers: Probe,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare the check that the decorated test function asserts."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        probes = {Layer(name): probe for name, probe in layers.items()}
        outside = _union(sources, remedy.sources if remedy else ())
        inside = _union(guest_sources, remedy.guest_sources if remedy else ())
        made = Check(control, test.__name__, cases, probes, outside, inside, remedy, prerequisite, exercise)
        setattr(test, ATTRIBUTE, made)
        return test

    return mark


def _union(*sources: Any) -> Callable[[Any], Iterable[Any]]:
    functions = tuple(map(_function, sources))
    return lambda target: (source for function in functions for source in function(target))


def _function(sources: Any) -> Callable[[Any], Iterable[Any]]:
    if callable(sources):
        return sources  # type: ignore[no-any-return]
    fixed = tuple(sources)
    return lambda _target: fixed


def where(
    cases: Callable[[HostTarget], Iterable[Case]], sources: Iterable[Source]
) -> Callable[[HostTarget], Iterable[Source]]:
    """These sources, for hosts on which there is such a case: what no profile states is not asked either."""
    fixed = tuple(sources)
    return lambda host: fixed if any(True for _case in cases(host)) else ()


def run_probe(probe: Probe, snapshot: Snapshot, case: Case) -> tuple[Reading, ...]:
    """The probe's readings, always a tuple."""
    found = probe(snapshot, *case.args)
    return (found,) if isinstance(found, Reading) else tuple(found)
