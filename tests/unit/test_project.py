"""The project itself, as ordinary tests: lint, types, the wheel a user installs, what must not be committed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*argv: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True, cwd=TOP, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "argv",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)],
    ids=["lint", "format", "types"],
)
def test_tool_is_content(argv: tuple[str, ...]) -> None:
    done = run(BIN / argv[0], *argv[1:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exit_code_of_the_cli_is_documented() -> None:
    from virtvet.cli import EXIT_CODES
    from virtvet.errors import ExitCode

    readme = (TOP / "README.md").read_text()
    for code in ExitCode:
        assert f"\n  {int(code):<3} " in EXIT_CODES, code
        assert f"| {int(code)} |" in readme, code


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what is in the checkout without build isolation (no network needed)."""
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_wheel_holds_checks_and_profiles(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in ("checks/host/test_reach.py", "profiles/kvm-baseline.yaml", "checks.ini", "reporting/report.html.j2"):
        assert f"virtvet/{needed}" in names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its dependencies are lent by the environment the tests run in."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "lent.pth").write_text("\n".join(lent) + "\n")
    done = run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", packages, wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


def test_wheel_lists_controls_and_checks_anywhere(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": environment}
    where = subprocess.run([installed, "-c", "import virtvet; print(virtvet.__file__)"], **options)
    assert str(installed.parents[1]) in where.stdout, "the wheel, not the checkout, must be imported"
    listed = subprocess.run([installed, "-m", "virtvet", "controls"], **options)
    assert "HOST-REACH-1" in listed.stdout
    shown = subprocess.run([installed, "-m", "virtvet", "check", "kvm-baseline", "-H", "local://", "--list"], **options)
    assert "checks/host/test_reach.py::test_host_answers[" in shown.stdout, shown.stdout + shown.stderr
    assert shown.returncode == 0
