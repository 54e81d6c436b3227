import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.reporting_runs import PIN, hostile, limit, pins, result, sample, seen
from virtvet.check import Case, Reading
from virtvet.errors import BadInput
from virtvet.judge import Outcome
from virtvet.reporting.run import Run, broken, load_run, new_run_id, write_run
from virtvet.reporting.schema import schema

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports/sample/run.json"


def test_a_departure_is_told_on_every_layer() -> None:
    found = pins("web1", 0, {1, 2}, {0, 1, 2, 3})
    assert (found.outcome, found.departing) == ("failed", ("actual",))
    assert found.expected == "1-2"
    assert {layer: seen.verdict for layer, seen in found.layers.items()} == {
        "config": "agrees",
        "live": "agrees",
        "actual": "departs",
    }
    assert found.layers["actual"].readings[0].value == "0-3"
    assert "Cpus_allowed_list:\t0-3" in found.layers["actual"].readings[0].excerpt
    assert found.message.startswith("actual says 0-3")
    assert found.hint == "virsh -c qemu:///system vcpupin web1 0 1-2 --live --config"


def test_what_differs_by_layer_names_the_layers() -> None:
    found = limit("web1", 1000001, 1024000000)
    assert found.expected == "config: 1000001; live: 1000001; actual: 1024001024"
    assert found.layers["actual"].expected == "1024001024"


def test_errors_and_absent_layers_say_why() -> None:
    layers = (
        seen("config", 1, error="denied"),
        seen("live", 1, not_applicable="shut off"),
        seen("actual", 1, Reading(1, "x")),
    )
    found = result(PIN, Case("web1/vcpu0", 1, words={"vcpu": 0}), layers)
    assert found.outcome == "error"
    assert (found.layers["config"].verdict, found.layers["config"].error) == ("error", "denied")
    assert (found.layers["live"].verdict, found.layers["live"].not_applicable) == ("not applicable", "shut off")


def test_a_broken_check_is_an_error() -> None:
    found = broken(
        PIN, Case("web1/vcpu0", {1}, words={"vcpu": 0}), "ZeroDivisionError: division by zero", "t", "hv1", 0.1
    )
    assert (found.outcome, found.layers, found.message) == ("error", {}, "ZeroDivisionError: division by zero")


WHERE = [
    (None, "hv1", "hv1"),
    (None, "port 16509", "hv1/port 16509"),
    (None, "/machine/openstack", "hv1/machine/openstack"),
    ("web1", "web1/vcpu0", "hv1/web1/vcpu0"),
    ("web1", "web1", "hv1/web1"),
    ("web1", "vcpu0", "hv1/web1/vcpu0"),
]


@pytest.mark.parametrize(("guest", "subject", "where"), WHERE)
def test_where_names_each_part_once(guest: str | None, subject: str, where: str) -> None:
    found = pins("web1", 0, {1}, {1}).model_copy(update={"guest": guest, "subject": subject})
    assert found.where == where


# --- the file


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    for run in (sample(), hostile()):
        assert load_run(write_run(run, tmp_path)) == run


def test_the_sample_shows_failures() -> None:
    outcomes = {found.outcome for found in load_run(SAMPLE).results}
    assert outcomes >= {Outcome.PASSED, Outcome.FAILED}


def test_the_committed_schema_is_current() -> None:
    assert (ROOT / "reports/run.schema.json").read_text() == schema()


@pytest.mark.parametrize("run", [sample, hostile])
def test_runs_are_valid_against_the_schema(run: Any) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    validator.check_schema(validator.schema)
    assert not list(validator.iter_errors(json.loads(run().model_dump_json())))
    assert not list(validator.iter_errors(json.loads(SAMPLE.read_text())))


def edited(**changes: Any) -> bytes:
    return json.dumps(json.loads(SAMPLE.read_bytes()) | changes).encode()


def with_result(**changes: Any) -> bytes:
    run = json.loads(SAMPLE.read_bytes())
    run["results"][0] |= changes
    return json.dumps(run).encode()


BAD = [
    (b"", "EOF while parsing"),
    (b"{", "EOF while parsing"),
    (b"\xff\xfe\0", "Invalid JSON"),
    (b"[]", "Input should be an object"),
    (b"{}", "virtvet: Field required"),
    (edited(schema_version=2), "schema_version: Input should be 1"),
    (edited(id="../../etc"), "id: String should match pattern"),
    (edited(surprise=1), "surprise: Extra inputs are not permitted"),
    (edited(exit_code="0"), "exit_code: Input should be a valid integer"),
    (edited(exit_code=-1), "exit_code: Input should be greater than or equal to 0"),
    (edited(started="yesterday"), "started: Input should be a valid datetime"),
    (edited(started="2026-11-22T22:15:00"), "started: Input should have timezone info"),
    (edited(results=[]), "the summary's counts are not those of the results"),
    (edited(hosts=[]), "results of hosts that are not listed: hv1, hv2"),
    (with_result(outcome="waived"), "the summary's counts are not those of the results"),
    (with_result(outcome="fine"), "results.0.outcome: Input should be"),
    (with_result(duration=float("nan")), "results.0.duration"),
    (with_result(layers={"dream": {}}), "results.0.layers.dream"),
    (b"[" * 100_000, "recursion limit"),
]


@pytest.mark.parametrize(("data", "said"), BAD, ids=[said for _data, said in BAD])
def test_a_bad_run_is_refused_in_words(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(data)
    with pytest.raises(BadInput) as refused:
        load_run(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_host_listed_twice_is_refused() -> None:
    run = json.loads(SAMPLE.read_bytes())
    with pytest.raises(ValueError, match="a host is listed twice"):
        Run.model_validate_json(json.dumps(run | {"hosts": run["hosts"] + run["hosts"][:1]}))


def test_many_mistakes_are_told_in_part(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(edited(**{f"extra{number}": 1 for number in range(100)}))
    with pytest.raises(BadInput) as refused:
        load_run(path)
    assert len(refused.value.problems) == 20


@pytest.mark.parametrize(
    ("name", "said"), [("none.json", "No such file"), (".", "Is a directory"), ("file/x", "Not a directory")]
)
def test_what_cannot_be_read_is_told(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=f"cannot be read: {said}"):
        load_run(tmp_path / name)


def test_times_are_utc() -> None:
    cet = timezone(timedelta(hours=1))
    run = sample().model_dump() | {"started": datetime(2026, 11, 22, 23, 15, tzinfo=cet)}
    assert '"started":"2026-11-22T22:15:00Z"' in Run.model_validate(run).model_dump_json()


def test_run_ids_sort_by_time_and_differ() -> None:
    moment = datetime(2026, 11, 22, 22, 15, tzinfo=UTC)
    ids = {new_run_id(moment) for _ in range(20)}
    assert len(ids) > 1
    assert all(one.startswith("20261122T221500Z-") for one in ids)


def test_troubles_come_worst_first() -> None:
    order = [(found.outcome, found.severity) for found in sample().troubles]
    assert order == [
        ("failed", "critical"),
        ("failed", "critical"),
        ("failed", "high"),
        ("failed", "high"),
        ("failed", "medium"),
        ("error", "high"),
        ("error", "high"),
    ]
