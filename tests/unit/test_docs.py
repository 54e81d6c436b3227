"""What the documentation says exists: links, commands and their options, profiles."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from virtvet import catalogue
from virtvet.cli import main
from virtvet.errors import ExitCode
from virtvet.profile.load import load_profile
from virtvet.profile.model import GuestWants

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md", TOP / "reports/README.md"]
PAGES += sorted((TOP / "docs").rglob("*.md"))
TEXTS = {str(page.relative_to(TOP)): page.read_text(encoding="utf-8") for page in PAGES}
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FENCED_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```\w*\n(.*?)^```$|^ {4}([^\n]*)$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
"""A fenced block, an indented line, or what stands within backticks."""
COMMAND = re.compile(r"^ *(?:\$ |script: |- run: )?((?:virtvet|\./dev) .*)$", re.MULTILINE)
COMMANDS = sorted(
    {
        (name, line.strip())
        for name, text in TEXTS.items()
        for code in CODE.findall(text)
        for line in COMMAND.findall("\n".join(code))
    }
)


def words_of(line: str) -> list[str]:
    """Without its comment and without an ellipsis ("./dev lab …")."""
    return [word for word in shlex.split(line, comments=True) if word != "…"]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    links = [link for link in LINK.findall(TEXTS[name]) if not re.match(r"https?:|mailto:", link)]
    lost = [link for link in links if not (TOP / name).parent.joinpath(link.partition("#")[0]).exists()]
    assert lost == []


@pytest.mark.parametrize("name", TEXTS)
def test_anchors_are_headings(name: str) -> None:
    for link in LINK.findall(TEXTS[name]):
        path, _, anchor = link.partition("#")
        if anchor and not link.startswith("http"):
            page = (TOP / name).parent / path if path else TOP / name
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings], link


@pytest.mark.parametrize(("name", "line"), [one for one in COMMANDS if one[1].startswith("virtvet")])
def test_command_exists_with_its_options(name: str, line: str) -> None:
    words = words_of(line)[1:]
    command: click.Command = main
    if words and not words[0].startswith("-"):
        assert words[0] in main.commands, f"{name}: {line}"
        command = main.commands[words.pop(0)]
    known = {flag for one in command.get_params(click.Context(command)) for flag in (*one.opts, *one.secondary_opts)}
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    assert [flag for flag in flags if flag not in known] == [], f"{name}: {line}"


@pytest.mark.parametrize(("name", "line"), [one for one in COMMANDS if one[1].startswith("./dev")])
def test_dev_knows_the_command(name: str, line: str) -> None:
    said = subprocess.run(["sh", TOP / "dev", "help"], capture_output=True, text=True, check=True).stdout
    word = words_of(line)[1]
    assert word == "help" or re.search(rf"^\./dev {word}\b", said, re.MULTILINE), f"{name}: {line}"


def test_every_remedy_is_told() -> None:
    section = TEXTS["docs/mending.md"].partition("## The remedies")[2].partition("\n## ")[0]
    told = [
        control for cell in re.findall(r"^\| ([A-Z][^|]*) \|", section, re.MULTILINE) for control in cell.split(", ")
    ]
    mended = {check.control.id for check in catalogue.shipped() if check.remedy}
    assert sorted(told) == sorted({"Controls", *mended})


def test_commands_were_found() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("text", [text for text in FENCED_YAML.findall(TEXTS["README.md"]) if "virtvet: 1" in text])
def test_profile_of_the_readme(text: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(text)
    load_profile(str(tmp_path / "site.yaml"))


AREA_EXAMPLES = {
    f"{name}:{number}": text
    for name, page in TEXTS.items()
    if name.startswith("docs/areas/")
    for number, text in enumerate(FENCED_YAML.findall(page))
}


@pytest.mark.parametrize("text", AREA_EXAMPLES.values(), ids=AREA_EXAMPLES.keys())
def test_example_of_an_area_is_a_profile(text: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(text if text.startswith("virtvet:") else f"virtvet: 1\n{text}")
    load_profile(str(tmp_path / "p.yaml"))


def test_every_key_of_guests_is_in_an_example() -> None:
    """Of the same name is enough; `min_guarantee` is always refused."""
    shown = "".join(text for page in TEXTS.values() for text in FENCED_YAML.findall(page))
    definitions = GuestWants.model_json_schema()
    kinds = [definitions, *definitions["$defs"].values()]
    keys = {key for kind in kinds for key in kind.get("properties", ())} - {"min_guarantee"}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}:", shown)] == []


GATE = FENCED_YAML.findall(TEXTS["docs/image-gate.md"])


def test_examples_of_the_gate(tmp_path: Path) -> None:
    """A profile; a job of GitLab CI and a workflow of GitHub Actions, each of which runs the gate."""
    profile, gitlab, github = GATE
    (tmp_path / "site.yaml").write_text(profile)
    load_profile(str(tmp_path / "site.yaml"))
    read = YAML(typ="safe").load
    job = read(gitlab)["gate"]
    assert job["artifacts"]["reports"]["junit"] == "reports/*/junit.xml"
    steps = read(github)["jobs"]["gate"]["steps"]
    for script in (job["script"], [step.get("run", "") for step in steps]):
        (line,) = [line for line in script if "virtvet image" in line]
        words = line.partition("virtvet image ")[2].split()
        with main.commands["image"].make_context("image", words) as context:
            assert context.params["profile"] == "site.yaml"


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (TOP / name).parent.joinpath(link).resolve() for name, text in TEXTS.items() for link in LINK.findall(text)
    }
    assert [str(page) for page in PAGES if TOP / "docs" in page.parents and page.resolve() not in linked] == []


def test_exit_codes_are_those_of_the_program() -> None:
    told = re.findall(r"^\| (\d+) \| ", TEXTS["README.md"], re.MULTILINE)
    assert [int(code) for code in told] == [int(code) for code in ExitCode]
