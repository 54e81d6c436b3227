"""run.json: what one run looked at and found. Every other report is made from it.

All text in it came from machines or from people: the types `Line` and `Excerpt` bound it and make it visible, on making
and on loading alike, so that no report has to trust it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from virtvet.check import Case, Check, Layer, PerLayer, Severity
from virtvet.check import Reading as Seeing
from virtvet.errors import BadInput, Position, Problem
from virtvet.expect import Unit, show
from virtvet.judge import Observed, Outcome, Seen
from virtvet.reporting.hint import hint
from virtvet.reporting.text import excerpt, one_line

SCHEMA_VERSION: Literal[1] = 1
MAX_RUN_FILE = 1 << 28
"""Bytes of a run.json that are read."""
MAX_PROBLEMS = 20
"""Mistakes of one bad run.json that are told."""

Line = Annotated[str, AfterValidator(one_line)]
Excerpt = Annotated[str, AfterValidator(excerpt)]
Seconds = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]
Utc = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
RunId = Annotated[str, Field(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}$", examples=["20261122T221500Z-4f2a"])]
Verdict = Literal["agrees", "departs", "error", "not applicable"]


class Record(BaseModel):
    """A part of run.json: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Reading(Record):
    """One value that was seen."""

    value: Line
    """The value as people read it ("0-2,5")."""
    source: Line
    """The file, API or command it was read from."""
    excerpt: Excerpt = ""
    """The raw text it was read from."""
    agrees: bool
    """Whether it is as it must be."""


class LayerResult(Record):
    """What one layer showed."""

    verdict: Verdict
    expected: Line
    """What this layer must show."""
    readings: tuple[Reading, ...] = ()
    error: Line = ""
    """Why the layer could not be read."""
    not_applicable: Line = ""
    """Why the layer does not exist here."""


class Mending(Record):
    """What was done to mend a departure, or to exercise what must be possible."""

    mode: Literal["plan", "try", "keep", "exercise"]
    changes: tuple[Line, ...]
    """The exact plan, line by line: titles, commands, diffs."""
    outcome: Line
    """planned, refused, tried, kept, undone or stuck; then, after a colon, why."""

    @property
    def left(self) -> bool:
        """Something stayed on a machine, and `virtvet undo` takes it back."""
        return self.outcome.partition(":")[0] in ("kept", "stuck")


class Result(Record):
    """One case of one control on one host."""

    id: Line
    """pytest's node id."""
    control: Line
    title: Line
    area: Line
    severity: Severity
    requirement: Line
    rationale: Line = ""
    """Why the control exists."""
    references: tuple[Line, ...] = ()
    """Where the fact is documented."""
    host: Line
    guest: Line | None = None
    """The guest it is about; null for a matter of the host."""
    subject: Line
    """What it is about; unique within its control and host."""
    outcome: Outcome
    expected: Line
    """What must hold; where layers differ, each with its name."""
    layers: dict[Layer, LayerResult]
    message: Line = ""
    """Which layer says what, or why nothing was judged."""
    hint: Line = ""
    """The command that mends it."""
    duration: Seconds
    """Seconds spent judging (the look is shared by all results)."""
    mending: Mending | None = None

    @property
    def where(self) -> str:
        """Host, guest and subject, each named once: "hv1/web1/vcpu0", "hv1/machine/openstack"."""
        return _below(self.host, self.subject if self.guest is None else _below(self.guest, self.subject))

    @property
    def departing(self) -> tuple[Layer, ...]:
        """The layers that are not as they must be."""
        return tuple(layer for layer, seen in self.layers.items() if seen.verdict == "departs")


class Host(Record):
    """A host of the run, looked at or not."""

    name: Line
    reached: Line
    """How: "ssh://root@hv1, qemu+ssh://root@hv1/system", or the snapshot file."""
    profile: Line = ""
    """The name of the profile it must match."""
    libvirt: Line | None = None
    """libvirt's version ("9.0.0")."""
    qemu: Line | None = None
    """QEMU's version."""
    unreachable: Line | None = None
    """Why nothing could be asked; null when it answered."""
    guests: tuple[Line, ...] = ()
    """The guests there: libvirt's, and those started by hand."""
    taken: Utc | None = None
    """When it was looked at."""
    seconds: Seconds = 0.0
    """Seconds the look took."""


class ProfileUsed(Record):
    """A profile hosts were judged by."""

    name: Line
    path: Line
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the file, as it was read."""


class Image(Record):
    """The disk image that was booted for the run (`virtvet image`)."""

    name: Line
    """Of the file, without its folders."""
    format: Literal["raw", "qcow2"]
    size: NonNegativeInt
    """Bytes of the file."""
    virtual_size: NonNegativeInt
    """Bytes of the disk in it."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the file."""
    firmware: Literal["uefi", "bios"]
    direct_kernel: Line = ""
    """The kernel that was started instead of the image's own boot loader, and its command line."""
    accelerator: Literal["kvm", "tcg"]
    why: Line = ""
    """Why it is not KVM."""
    iommu: Literal["intel", "amd", "none"]
    """What the machine had."""
    seconds: Seconds
    """From power-on until it could be checked."""


class Summary(Record):
    """How many results ended how."""

    passed: NonNegativeInt = 0
    failed: NonNegativeInt = 0
    error: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    waived: NonNegativeInt = 0
    total: NonNegativeInt = 0

    @classmethod
    def of(cls, results: Iterable[Result]) -> Self:
        """Count."""
        counts = Counter(result.outcome for result in results)
        return cls(**{str(outcome): count for outcome, count in counts.items()}, total=counts.total())


class Run(Record):
    """A whole run, as run.json holds it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    virtvet: Line
    """virtvet's version."""
    id: RunId
    started: Utc
    finished: Utc
    argv: tuple[Line, ...]
    """The command line, passwords in URIs left out."""
    profiles: tuple[ProfileUsed, ...]
    image: Image | None = None
    """What was booted, where the host was made from a disk image."""
    hosts: tuple[Host, ...]
    results: tuple[Result, ...]
    summary: Summary
    exit_code: NonNegativeInt

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """A cut or edited file must not look greener than the run was."""
        if self.summary != Summary.of(self.results):
            raise ValueError("the summary's counts are not those of the results")
        names = [host.name for host in self.hosts]
        if len(set(names)) < len(names):
            raise ValueError("a host is listed twice")
        if strangers := {result.host for result in self.results} - set(names):
            raise ValueError(f"results of hosts that are not listed: {', '.join(sorted(strangers))}")
        return self

    @property
    def worst_first(self) -> tuple[Result, ...]:
        """Results by outcome, severity, host, area, control; the order of the case within them."""
        return tuple(sorted(self.results, key=_urgency))

    @property
    def troubles(self) -> tuple[Result, ...]:
        """What failed and what could not be looked at, worst first."""
        return tuple(result for result in self.worst_first if result.outcome in {Outcome.FAILED, Outcome.ERROR})


WORST_FIRST = (Outcome.FAILED, Outcome.ERROR, Outcome.WAIVED, Outcome.SKIPPED, Outcome.PASSED)
"""The order of reports."""
SYMBOL: Mapping[Outcome, str] = {
    Outcome.FAILED: "✗",
    Outcome.ERROR: "!",
    Outcome.WAIVED: "~",
    Outcome.SKIPPED: "–",
    Outcome.PASSED: "✓",
}
LABEL: Mapping[Outcome, str] = {
    Outcome.FAILED: "failed",
    Outcome.ERROR: "errors",
    Outcome.WAIVED: "waived",
    Outcome.SKIPPED: "skipped",
    Outcome.PASSED: "passed",
}
_RANK: Mapping[str, int] = {word: rank for words in (WORST_FIRST, Severity) for rank, word in enumerate(words)}


def _urgency(result: Result) -> tuple[int, int, str, str, str]:
    return _RANK[result.outcome], _RANK[result.severity], result.host, result.area, result.control


def _below(name: str, subject: str) -> str:
    inside = subject == name or subject.startswith(f"{name}/")
    return subject if inside else f"{name}/{subject.removeprefix('/')}"


def new_run_id(started: datetime) -> str:
    """Sorts by time, fits a directory name, differs for two runs of one second: "20261122T221500Z-4f2a"."""
    return f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def result_of(
    check: Check,
    case: Case,
    observed: Observed,
    nodeid: str,
    host: str,
    duration: float,
    mending: Mending | None = None,
) -> Result:
    """What was observed, as run.json says it. `host` is the host's name, `duration` in seconds."""
    return Result(
        **_identity(check, case, nodeid, host, duration),
        outcome=observed.outcome,
        layers={seen.layer: _layer(seen, observed.case.unit) for seen in observed.layers},
        message=observed.message(),
        mending=mending,
    )


def broken(check: Check, case: Case, reason: str, nodeid: str, host: str, duration: float) -> Result:
    """A check that could not judge at all (a probe raised what it must not): an error with its reason."""
    return Result(**_identity(check, case, nodeid, host, duration), outcome=Outcome.ERROR, layers={}, message=reason)


def _identity(check: Check, case: Case, nodeid: str, host: str, duration: float) -> dict[str, Any]:
    control = check.control
    return {
        "id": nodeid,
        "control": control.id,
        "title": control.title,
        "area": control.area,
        "severity": control.severity,
        "requirement": control.requirement,
        "rationale": control.rationale,
        "references": control.references,
        "host": host,
        "guest": case.guest,
        "subject": case.subject,
        "expected": _expected(case),
        "hint": hint(check, case, host),
        "duration": round(duration, 6),
    }


def _expected(case: Case) -> str:
    if not isinstance(case.expected, PerLayer):
        return show(case.expected, case.unit)
    return "; ".join(f"{layer}: {show(value, case.unit)}" for layer, value in case.expected.items())


def _layer(seen: Seen, unit: Unit) -> LayerResult:
    return LayerResult(
        verdict=_verdict(seen),
        expected=show(seen.expected, unit),
        readings=tuple(_reading(reading, agrees, unit) for reading, agrees in seen.readings),
        error=seen.error,
        not_applicable=seen.not_applicable,
    )


def _verdict(seen: Seen) -> Verdict:
    if seen.looked:
        return "departs" if seen.departs else "agrees"
    return "error" if seen.error else "not applicable"


def _reading(seen: Seeing, agrees: bool, unit: Unit) -> Reading:
    return Reading(value=show(seen.value, unit), source=seen.source, excerpt=seen.excerpt, agrees=agrees)


def write_run(run: Run, directory: Path) -> Path:
    """Write run.json into an existing directory; its path. Raises OSError."""
    path = directory / "run.json"
    path.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def load_run(path: Path) -> Run:
    """Read a run.json. Raises BadInput when it cannot be read, is none, or does not agree with itself."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RUN_FILE + 1)
    except OSError as error:
        raise BadInput.one(f"cannot be read: {error.strerror}", at=Position(str(path))) from None
    if len(data) > MAX_RUN_FILE:
        raise BadInput.one(f"is larger than {MAX_RUN_FILE} bytes", at=Position(str(path)))
    try:
        return Run.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise BadInput(_problems(error, path)) from None


def _problems(error: ValidationError, path: Path) -> Iterable[Problem]:
    for mistake in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]:
        place = ".".join(map(str, mistake["loc"]))
        yield Problem(
            one_line(f"{place}: {mistake['msg']}" if place else mistake["msg"]),
            "is it a run.json?",
            Position(str(path)),
        )
