import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from lxml import etree
from lxml import html as lxml_html

from tests.unit.reporting_runs import REACH, blind, host, hostile, one, run_of, sample
from virtvet.judge import Outcome
from virtvet.reporting.html import html, matrix, verdict
from virtvet.reporting.run import WORST_FIRST, Run

ROOT = Path(__file__).parents[2]


def page(run: Run) -> etree._Element:
    return lxml_html.document_fromstring(html(run))


def test_nothing_is_loaded_and_only_our_style_and_script_run() -> None:
    document = page(sample())
    policy = document.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        text = document.xpath(f"//{tag}[not(@type)]")[0].text
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not document.xpath("//@src")
    assert document.xpath("//link/@href") == ["data:,"]
    assert not document.xpath("//@style | //@*[starts-with(name(), 'on')]")


@pytest.mark.parametrize("run", [sample, hostile])
def test_the_run_is_embedded_whole(run: object) -> None:
    data = json.loads(page(run()).get_element_by_id("run").text)
    found = Run.model_validate_json(json.dumps(data))
    assert sorted(found.results, key=lambda r: r.id) == sorted(run().results, key=lambda r: r.id)
    ranks = [WORST_FIRST.index(result["outcome"]) for result in data["results"]]
    assert ranks == sorted(ranks)


def test_hostile_text_stays_text() -> None:
    document = page(hostile())
    assert not document.xpath("//img")
    assert len(document.xpath("//script")) == 2
    shown = document.text_content()
    assert "</script><img src=x onerror=alert(1)>" in shown
    assert "{{ 7*7 }}" in shown
    assert not re.search("[\0-\x08\x0b-\x1f\u200b\u202a-\u202e\u2028\u2029\u2066-\u2069]", html(hostile()))


def test_links_lead_only_within_the_page() -> None:
    assert not [href for href in page(hostile()).xpath("//a/@href") if not href.startswith("#")]


def test_without_javascript_the_troubles_are_there_in_three_lines() -> None:
    rows = page(sample()).xpath("//ol[@id='results']/li")
    assert len(rows) == len(sample().troubles)
    lines = [" ".join(rows[2].xpath(f"string(./*[{place}])").split()) for place in (1, 2, 3)]
    assert lines[0] == "✗ CPU-PIN-1 hv1/web1/vcpu0 A vCPU runs only on its host CPUs high"
    assert lines[1].startswith("actual says 0-3")
    assert lines[2] == "virsh -c qemu:///system vcpupin web1 0 1 --live --config"


def test_a_large_run_is_static_in_part_only() -> None:
    document = page(blind(120))
    assert len(document.xpath("//ol[@id='results']/li")) == 100
    assert "20 more failures and errors" in document.xpath("string(//noscript)")


def test_the_matrix_counts_the_worst_and_puts_the_worst_host_first() -> None:
    rows = matrix(sample(), ["cpu", "memory", "tls"])
    assert [row.host.name for row in rows] == ["hv1", "hv2"]
    assert [cell.worst for cell in rows[0].cells] == [Outcome.FAILED, Outcome.PASSED, Outcome.FAILED]
    assert [cell.worst for cell in rows[1].cells] == [Outcome.PASSED, None, Outcome.WAIVED]
    assert rows[0].cells[0].words == "hv1, cpu: 1 failed, 11 passed"
    assert rows[0].cells[0].link == "#host=hv1&area=cpu"


def test_a_host_that_did_not_answer_comes_first_with_its_reason() -> None:
    run = run_of(sample().results, (*sample().hosts, host("hv9", unreachable="No route to host")))
    first = page(run).xpath("//table[@class='matrix']/tbody/tr")[0]
    assert "No route to host" in first.text_content()


GOOD = one(REACH, "hv1", True, True, "ssh://root@hv1")
VERDICTS = [
    (sample(), "5 of 43 checks fail on 2 of 2 hosts", "failed"),
    (run_of((GOOD,), (host("hv1"),), exit_code=0), "All 1 check that were judged pass", "passed"),
    (run_of((GOOD,), (host("hv1"),), exit_code=20), "No check failed, but the run ended with exit code 20", "error"),
    (run_of((), (host("hv1"),), exit_code=5), "Nothing was found to pass", "error"),
    (
        run_of((GOOD.model_copy(update={"outcome": Outcome.ERROR}),), (host("hv1"),)),
        "1 of 1 check could not look",
        "error",
    ),
]


@pytest.mark.parametrize(("run", "said", "colour"), VERDICTS, ids=[said for _run, said, _colour in VERDICTS])
def test_the_verdict_is_never_greener_than_the_run(run: Run, said: str, colour: str) -> None:
    assert verdict(run) == said
    assert page(run).xpath("string(//body/header/@class)") == colour
