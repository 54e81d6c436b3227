import io
import re

import pytest
from rich.console import Console

from tests.unit.reporting_runs import blind, host, hostile, large, run_of, sample
from virtvet.reporting.run import Run
from virtvet.reporting.terminal import summary


def printed(run: Run, width: int = 100, **options: object) -> str:
    console = Console(file=io.StringIO(), width=width, **options)
    summary(run, console, ())
    return console.file.getvalue()


def test_a_failure_is_three_lines_what_which_layer_and_the_command() -> None:
    lines = printed(sample()).splitlines()
    at = next(number for number, line in enumerate(lines) if "CPU-PIN-1" in line)
    assert lines[at] == "✗ CPU-PIN-1 · hv1/web1/vcpu0 — A vCPU runs only on its host CPUs"
    assert lines[at + 1].startswith("  actual says 0-3 (/proc/4700/task/4711/status)")
    assert lines[at + 1].endswith("config and live agree")
    assert lines[at + 2] == "  virsh -c qemu:///system vcpupin web1 0 1 --live --config"


def test_one_reason_is_told_once() -> None:
    text = printed(sample())
    assert text.count("Permission denied") == 1
    assert "(and 1 more)" in text


def test_what_was_mended_is_told_exactly() -> None:
    text = printed(sample())
    assert (
        "⚒ tried · SHARE-MOUNT-1 hv1/web1/data\n"
        "  mount the share data at /srv/data in web1 (risk: live)\n"
        "    hv1/web1$ mount -t 9p -o trans=virtio,version=9p2000.L,cache=none data /srv/data\n"
    ) in text
    assert "virtvet undo" not in text


def test_what_was_left_can_be_undone() -> None:
    run = sample()
    results = [
        one.model_copy(update={"mending": one.mending.model_copy(update={"outcome": "kept"})}) if one.mending else one
        for one in run.results
    ]
    assert f"  virtvet undo {run.id}   # takes back what was left\n" in printed(
        run.model_copy(update={"results": results})
    )


def test_why_something_was_skipped_or_waived_is_told() -> None:
    text = printed(sample())
    assert "– 1 skipped: guest is shut off" in text
    assert "~ 1 waived: config says 12" in text


def test_counts_by_host_and_in_all() -> None:
    lines = [line.split() for line in printed(sample()).splitlines()]
    assert ["hv1", "✗", "4", "!", "2", "·", "·", "✓", "25"] in lines
    assert "✗ 5 failed, 2 errors, 1 waived, 1 skipped, 34 passed in 3.8 s" in printed(sample())


def test_hosts_where_all_passed_share_a_line() -> None:
    text = printed(large(1000))
    assert ["18", "hosts", "·", "·", "·", "·", "✓", "900"] in [line.split() for line in text.splitlines()]
    assert "hv001" not in text


def test_a_thousand_failures_are_printed_in_part() -> None:
    text = printed(blind(1000))
    assert "… and 950 more in the reports" in text
    assert text.count("PART-LIMIT-1") == 50


def test_nothing_checked_is_not_good_news() -> None:
    assert "! nothing was checked" in printed(run_of((), (host("hv1"),), exit_code=5))


@pytest.mark.parametrize("width", [20, 80, 200])
def test_hostile_text_neither_colours_nor_moves_the_cursor(width: int) -> None:
    text = printed(hostile(), width)
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", text)
    assert "[bold red]markup[/] :bomb:" in text


def test_colours_only_where_they_are_wanted() -> None:
    assert "\x1b[" not in printed(sample())
    assert "\x1b[" in printed(sample(), force_terminal=True, color_system="standard")
    assert "\x1b[3" not in printed(sample(), force_terminal=True, no_color=True)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_command_is_never_broken(width: int) -> None:
    assert "\n  virsh -c qemu:///system vcpupin web1 0 1 --live --config\n" in printed(sample(), width)
