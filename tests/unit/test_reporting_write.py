from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.reporting_runs import hostile, sample
from virtvet.errors import BadInput
from virtvet.reporting.__main__ import main
from virtvet.reporting.run import load_run
from virtvet.reporting.write import render, write_all

SAMPLE = Path(__file__).parents[2] / "reports/sample"


def test_all_reports_land_in_the_run_s_directory(tmp_path: Path) -> None:
    paths = write_all(sample(), tmp_path / "deep/reports")
    assert {path.relative_to(tmp_path / "deep/reports") for path in paths} == {
        Path("20261122T221500Z-4f2a") / name for name in ("run.json", "junit.xml", "report.html")
    }
    assert all(path.stat().st_size for path in paths)
    assert (tmp_path / "deep/reports/latest").readlink() == Path("20261122T221500Z-4f2a")


def test_latest_moves_to_the_newest(tmp_path: Path) -> None:
    write_all(sample(), tmp_path)
    newer = sample().model_copy(update={"id": "20261123T000000Z-0000"})
    write_all(newer, tmp_path)
    assert load_run(tmp_path / "latest/run.json") == newer
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "20261122T221500Z-4f2a",
        "20261123T000000Z-0000",
        "latest",
    ]


def test_a_leftover_of_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".latest-20261122T221500Z-4f2a").symlink_to("nowhere")
    (tmp_path / "latest").symlink_to("nowhere")
    assert write_all(sample(), tmp_path).run.exists()


def test_reports_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "taken/latest").mkdir(parents=True)
    for place, said in (("file", "Not a directory"), ("taken", "Is a directory")):
        with pytest.raises(BadInput, match=f"^cannot write reports to .*{place}: {said}") as refused:
            write_all(sample(), tmp_path / place)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["run.json", "junit.xml", "report.html"])
def test_the_committed_sample_is_current(name: str, tmp_path: Path) -> None:
    """When this fails: python -m virtvet.reporting reports/sample/run.json reports/sample"""
    render(load_run(SAMPLE / "run.json"), tmp_path)
    assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_hostile_runs_are_written(tmp_path: Path) -> None:
    assert load_run(write_all(hostile(), tmp_path).run) == hostile()


def test_reports_again_from_a_run(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(SAMPLE / "run.json"), str(tmp_path)])
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "report.html").read_bytes() == (SAMPLE / "report.html").read_bytes()


def test_a_bad_run_is_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path / "none.json"), str(tmp_path)])
    assert done.exit_code == 1
    assert done.output == f"Error: {tmp_path}/none.json: cannot be read: No such file or directory\n"
