"""junit.xml: one test suite a host, as the Jenkins xunit plugin's junit-10.xsd wants it.

pytest's own writer knows one suite and no hosts. JUnit has no word for a waived result: it is skipped, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from virtvet.judge import Outcome
from virtvet.reporting.run import Host, LayerResult, Result, Run, Summary

ELEMENT = {
    Outcome.FAILED: "failure",
    Outcome.ERROR: "error",
    Outcome.SKIPPED: "skipped",
    Outcome.WAIVED: "skipped",
}
"""The element that says how a case ended; a passed one has none."""


def junit(run: Run) -> bytes:
    """The run as JUnit XML, UTF-8."""
    suites = etree.Element(
        "testsuites",
        name="virtvet",
        tests=str(run.summary.total),
        failures=str(run.summary.failed),
        errors=str(run.summary.error),
        time=_seconds(sum(result.duration for result in run.results)),
    )
    suites.extend(_suite(run, host) for host in run.hosts)
    return etree.tostring(suites, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _suite(run: Run, host: Host) -> etree._Element:
    results = [result for result in run.results if result.host == host.name]
    counts = Summary.of(results)
    suite = etree.Element(
        "testsuite",
        name=host.name,
        hostname=host.name,
        tests=str(counts.total),
        failures=str(counts.failed),
        errors=str(counts.error),
        skipped=str(counts.skipped + counts.waived),
        time=_seconds(sum(result.duration for result in results)),
        timestamp=f"{run.started:%Y-%m-%dT%H:%M:%S}",
    )
    suite.append(_properties(run, host))
    suite.extend(map(_case, results))
    return suite


def _properties(run: Run, host: Host) -> etree._Element:
    known = {
        "virtvet.version": run.virtvet,
        "virtvet.run": run.id,
        "virtvet.profile": host.profile,
        "reached": host.reached,
        "unreachable": host.unreachable,
        "libvirt": host.libvirt,
        "qemu": host.qemu,
        "image": run.image and run.image.name,
        "image.sha256": run.image and run.image.sha256,
    }
    properties = etree.Element("properties")
    for name, value in known.items():
        if value:
            etree.SubElement(properties, "property", name=name, value=value)
    return properties


def _case(result: Result) -> etree._Element:
    """Jenkins shows classname up to its last dot as package: host, then area."""
    case = etree.Element(
        "testcase",
        classname=f"{result.host}.{result.area}",
        name=f"{result.control} {result.subject}",
        time=_seconds(result.duration),
    )
    if element := ELEMENT.get(result.outcome):
        case.append(_ending(element, result))
    etree.SubElement(case, "system-out").text = "\n".join(_evidence(result))
    return case


def _ending(element: str, result: Result) -> etree._Element:
    """The message is what; the type is which layers depart (or else the outcome); the text is what to do."""
    kind = ", ".join(result.departing) or str(result.outcome)
    ending = etree.Element(element, message=f"{result.title}: {result.message}", type=kind)
    if result.hint and element != "skipped":
        ending.text = f"{result.message}\n{result.hint}"
    return ending


def _evidence(result: Result) -> Iterable[str]:
    yield f"{result.id} ({result.requirement}, {result.severity})"
    for layer, seen in result.layers.items():
        yield from _layer(layer, seen)
    if result.mending:
        yield f"{result.mending.mode}: {result.mending.outcome}"
        yield from (f"  {change}" for change in result.mending.changes)


def _layer(layer: str, seen: LayerResult) -> Iterable[str]:
    reason = seen.error or seen.not_applicable
    yield f"{layer} {seen.verdict}, expected {seen.expected}" + (f": {reason}" if reason else "")
    for reading in seen.readings:
        yield f"  {reading.value} ({reading.source})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
