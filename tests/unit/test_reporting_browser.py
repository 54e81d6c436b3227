"""report.html in a real Chromium. Skipped where there is none; a few seconds where there is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.chromium import PROGRAM, Chromium
from tests.unit.reporting_runs import hostile, large, run_of, sample
from virtvet.reporting.html import html
from virtvet.reporting.run import Run

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with Chromium() as browser:
        yield browser


@pytest.fixture
def opened(chromium: Chromium, tmp_path: Path, request: pytest.FixtureRequest) -> Chromium:
    """The browser with the report of the run that the test names."""
    path = tmp_path / "report.html"
    path.write_text(html(request.param()))
    chromium.open(path)
    return chromium


def shown(browser: Chromium) -> str:
    return browser.run("document.querySelector('.filters output').textContent")


@pytest.mark.parametrize("opened", [sample, hostile], indirect=True)
def test_nothing_is_fetched_nothing_complains_and_no_text_becomes_html(opened: Chromium) -> None:
    opened.run("document.querySelectorAll('button.head').forEach(head => head.click())")
    assert opened.run("document.querySelectorAll('.panel').length") > 5
    assert opened.run("document.querySelectorAll('img, script:not([type]):not(:last-of-type), iframe').length") == 0
    assert opened.run("document.documentElement.scrollWidth <= innerWidth")
    assert opened.complaints() == []


@pytest.mark.parametrize("opened", [sample], indirect=True)
def test_filters_narrow_and_the_address_remembers(opened: Chromium) -> None:
    assert shown(opened) == "43 of 43"
    opened.run("document.querySelector('.matrix a[href*=\"host=hv1&area=tls\"]').click()")
    opened.run("new Promise(done => setTimeout(done, 50))")
    assert shown(opened) == "3 of 43"
    assert opened.run("document.querySelector('[name=host]').value") == "hv1"
    opened.run("document.querySelector('[name=outcome]').value = 'passed'")
    opened.run("document.querySelector('[name=outcome]').dispatchEvent(new Event('change', {bubbles: true}))")
    assert shown(opened) == "2 of 43"
    assert opened.run("location.hash") == "#outcome=passed&host=hv1&area=tls"
    opened.run("document.querySelector('.clear').click()")
    assert shown(opened) == "43 of 43"
    opened.run("const q = document.querySelector('[name=q]'); q.value = 'WEB1 quota'; q.form.requestSubmit()")
    assert shown(opened) == "4 of 43"
    opened.run(
        "document.querySelector('[name=q]').value = 'no such thing'; document.querySelector('.filters').requestSubmit()"
    )
    assert "No result matches." in opened.run("document.getElementById('results').textContent")


@pytest.mark.parametrize("opened", [sample], indirect=True)
def test_evidence_unfolds_by_keyboard(opened: Chromium) -> None:
    opened.run("document.querySelectorAll('button.head')[2].focus()")
    for kind in ("keyDown", "keyUp"):
        opened.ask("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    panel = opened.run("document.querySelector('.panel').innerText")
    assert "/proc/4700/task/4711/status" in panel
    assert "Cpus_allowed_list:" in panel


def with_references() -> Run:
    first, *others = sample().worst_first
    references = ("javascript:alert(1)", "data:text/html,x", "https://libvirt.org/")
    return run_of((first.model_copy(update={"references": references}), *others), sample().hosts)


@pytest.mark.parametrize("opened", [with_references], indirect=True)
def test_only_web_addresses_are_links(opened: Chromium) -> None:
    opened.run("document.querySelector('button.head').click()")
    assert opened.run("[...document.querySelectorAll('.panel a')].map(link => link.href)") == ["https://libvirt.org/"]
    assert "javascript:alert(1)" in opened.run("document.querySelector('.panel').innerText")


@pytest.mark.parametrize("opened", [lambda: large(10_000)], indirect=True, ids=["10 000"])
def test_ten_thousand_results_open_at_once(opened: Chromium) -> None:
    assert shown(opened) == "10000 of 10000"
    assert opened.run("document.querySelectorAll('.result').length") == 100
    assert opened.run("performance.getEntriesByType('navigation')[0].domComplete") < 3000
    opened.run("document.querySelector('[name=q]').value = 'guest17 vcpu1'")
    search = (
        "const begin = performance.now(); document.querySelector('.filters').requestSubmit(); performance.now() - begin"
    )
    assert opened.run(search) < 1000
    opened.run("document.querySelector('.clear').click(); document.querySelector('#more button').click()")
    assert opened.run("document.querySelectorAll('.result').length") == 200
