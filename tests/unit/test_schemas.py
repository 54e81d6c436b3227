"""JSON Schemas are current and agree with the loaders on every shipped profile and every example in docs/."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from virtvet import yamlfile
from virtvet.errors import BadInput
from virtvet.inventory import load_inventory
from virtvet.profile.load import load_profile, shipped_dir
from virtvet.profile.schema import files

TOP = Path(__file__).parents[2]
# A fenced YAML file that begins with its own name, and the messages that follow it when it is a wrong one.
EXAMPLE = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```$(?:\n+```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
EXAMPLES = {
    f"{page.name}:{match[1]}": match
    for page in sorted((TOP / "docs").glob("*.md"))
    for match in EXAMPLE.finditer(page.read_text())
}
RIGHT = [name for name, match in EXAMPLES.items() if not match[3]]
WRONG = [name for name, match in EXAMPLES.items() if match[3]]


@pytest.fixture(scope="module")
def schemas():
    texts = {name: json.loads(text) for name, text in files().items()}
    return {name: jsonschema.Draft202012Validator(schema) for name, schema in texts.items()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """All examples, and the other files they name."""
    monkeypatch.chdir(tmp_path)
    for match in EXAMPLES.values():
        Path(match[1]).write_text(f"# {match[1]}\n{match[2]}")
    for name in ("id_ed25519", "known_hosts"):
        Path(name).touch()
    Path("ssh_config").write_text("Host hv1\n    HostName 192.0.2.1\n")
    for name in ("pki", "pki-expired"):
        Path(name).mkdir()


def _is_inventory(match):
    return "\nhosts:" in match[2]


def _load(match):
    return load_inventory(Path(match[1])) if _is_inventory(match) else load_profile(match[1])


def _as_json(path):
    return json.loads(json.dumps(yamlfile.read(path).plain()))


@pytest.mark.parametrize("name", files())
def test_schema_is_current(name):
    committed = (shipped_dir() / name).read_text()
    assert committed == files()[name], "run: python -m virtvet.profile.schema"


@pytest.mark.parametrize("name", files())
def test_schema_is_a_schema(name):
    schema = json.loads(files()[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["description"]


@pytest.mark.parametrize("path", sorted(shipped_dir().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_profile(path, schemas):
    load_profile(str(path))
    schemas["profile.schema.json"].validate(_as_json(path))


@pytest.mark.parametrize("name", RIGHT)
def test_example(name, folder, schemas):
    match = EXAMPLES[name]
    assert _load(match)
    kind = "inventory" if _is_inventory(match) else "profile"
    schemas[f"{kind}.schema.json"].validate(_as_json(Path(match[1])))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_example(name, folder, schemas):
    match = EXAMPLES[name]
    with pytest.raises(BadInput) as caught:
        _load(match)
    assert f"{caught.value}\n" == match[3]
    kind = "inventory" if _is_inventory(match) else "profile"
    assert not schemas[f"{kind}.schema.json"].is_valid(_as_json(Path(match[1])))


def test_what_the_examples_say_of_merging(folder):
    """The comments within docs/profiles.md."""
    web1 = load_profile("guests.yaml").guest("web1")
    assert (web1.state, web1.cpu.pins.emulator, web1.cpu.pins.vcpu) == ("any", {0}, {0: {3}})
    mine = load_profile("mine.yaml")
    limits = mine.guest("web2").memory.limits
    assert (mine.host.tls, limits.hard, limits.soft) == (None, 8 << 30, 3 << 30)


def test_there_are_examples():
    assert {name.split(":")[0] for name in EXAMPLES} >= {"profiles.md", "inventory.md"}
    assert len(WRONG) >= 2
