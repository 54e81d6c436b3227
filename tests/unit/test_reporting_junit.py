import os
from pathlib import Path

import pytest
from lxml import etree

from tests.unit.reporting_runs import host, hostile, run_of, sample
from virtvet.reporting.junit import junit
from virtvet.reporting.run import Run

SCHEMAS = Path(os.environ.get("VIRTVET_SCHEMAS", Path(__file__).parents[3] / "shared/schemas"))
XSD = SCHEMAS / "junit-10.xsd"


def unreached() -> Run:
    return run_of((), (host("hv1", unreachable="No route to host"),), exit_code=20)


@pytest.mark.skipif(not XSD.exists(), reason=f"no {XSD}: set VIRTVET_SCHEMAS to the folder with junit-10.xsd")
@pytest.mark.parametrize("run", [sample, hostile, unreached])
def test_it_is_valid_against_the_schema(run: object) -> None:
    schema = etree.XMLSchema(etree.parse(XSD))
    schema.assertValid(etree.fromstring(junit(run())))


def suites() -> dict[str, etree._Element]:
    return {suite.get("name"): suite for suite in etree.fromstring(junit(sample()))}


def test_each_host_is_a_suite_with_its_counts() -> None:
    counted = {
        name: tuple(int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
        for name, suite in suites().items()
    }
    assert counted == {"hv1": (31, 4, 2, 0), "hv2": (12, 1, 0, 2)}
    for suite in suites().values():
        assert len(suite.findall("testcase")) == int(suite.get("tests"))
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures"))
        assert len(suite.findall("testcase/error")) == int(suite.get("errors"))
        assert len(suite.findall("testcase/skipped")) == int(suite.get("skipped"))


def test_a_failure_says_what_which_layer_and_what_to_do() -> None:
    case = next(case for case in suites()["hv1"].findall("testcase") if case.get("name") == "CPU-PIN-1 web1/vcpu0")
    failure = case.find("failure")
    assert case.get("classname") == "hv1.cpu"
    assert failure.get("type") == "actual"
    assert failure.get("message").startswith("A vCPU runs only on its host CPUs: actual says 0-3")
    assert failure.text.endswith("virsh -c qemu:///system vcpupin web1 0 1 --live --config")
    assert "  0-3 (/proc/4700/task/4711/status)" in case.findtext("system-out")


def test_a_waiver_is_a_skip_with_its_reason() -> None:
    waived = suites()["hv2"].find("testcase/skipped[@type='config']")
    assert "waived by Kim until 2026-12-01" in waived.get("message")


def test_a_host_that_did_not_answer_says_so() -> None:
    properties = etree.fromstring(junit(unreached())).findall("testsuite/properties/property")
    assert {one.get("name"): one.get("value") for one in properties}["unreachable"] == "No route to host"
