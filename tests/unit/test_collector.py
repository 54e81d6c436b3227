"""The script really run by real shells on a directory of evil files, and what is made of its answer."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from virtvet.errors import CannotLook
from virtvet.snapshot import collector
from virtvet.snapshot.model import Absent, Answer, Completed, Content, Status, TooLarge, Unreadable
from virtvet.snapshot.script import MAX_BULK, fixed_directory, shell_pattern
from virtvet.snapshot.sources import MAX_FILE, MAX_OUTPUT, Command, File, Glob, HostSource, Processes, Stat, Tree

BOUNDARY = "0123456789abcdef0123456789abcdef"
BUSYBOX = shutil.which("busybox")


@pytest.fixture(scope="session")
def applets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PATH with busybox alone; the script's own additions come after it."""
    folder = tmp_path_factory.mktemp("busybox")
    assert BUSYBOX
    subprocess.run([BUSYBOX, "--install", "-s", folder], check=True)
    return folder


@pytest.fixture(
    scope="session",
    params=["dash", pytest.param("busybox", marks=pytest.mark.skipif(not BUSYBOX, reason="no busybox"))],
)
def ask(request: pytest.FixtureRequest):
    program, path = "sh", os.environ["PATH"]
    if request.param == "busybox":
        path = str(request.getfixturevalue("applets"))
        program = f"{path}/sh"

    def ask(*sources: HostSource) -> list[Answer]:
        done = run(program, collector.script(sources, BOUNDARY), {"PATH": path})
        answers = collector.parse(done.stdout, done.stderr, sources, BOUNDARY)
        return [answers[source] for source in sources]

    return ask


def run(program: str, script: bytes, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, "-s"], input=script, env=environment, capture_output=True, timeout=30, check=False)


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


EVIL_NAMES = (
    "plain",
    "two\nlines",
    "a b",
    "$(touch x)",
    "`id`",
    "'",
    '"',
    "*",
    "[a]",
    "back\\slash",
    "-n",
    "ünï",
    "x: y",
)
CONTENTS = {
    "empty": b"",
    "no newline at the end": b"abc",
    "newlines": b"\n\n",
    "NUL inside": b"a\0b\n",
    "many NULs": b"a\0\0\0b",
    "another run's frame": b"\nffffffffffffffffffffffffffffffff end\0 ",
    "the words of the script": b"(\0/etc/passwd\0\0\0000\0 ",
    "not UTF-8": bytes(range(1, 256)),
    "as large as allowed": b"x" * MAX_FILE,
}


def test_files_are_read_byte_for_byte(ask, tmp_path: Path) -> None:
    files = {File(write(tmp_path / name, content)): Content(content) for name, content in CONTENTS.items()}
    assert dict(zip(files, ask(*files), strict=True)) == files


def test_one_nul_at_the_very_end_is_not_kept(ask, tmp_path: Path) -> None:
    assert ask(File(write(tmp_path / "cmdline", b"qemu\0-S\0"))) == [Content(b"qemu\0-S")]


def test_random_bytes_survive(ask, tmp_path: Path) -> None:
    chance = random.Random(1)
    files = {write(tmp_path / str(i), chance.randbytes(chance.randrange(3000)) + b"x"): i for i in range(40)}
    # Few different bytes: many newlines, NULs and brackets side by side.
    files |= {write(tmp_path / f"few{i}", bytes(chance.choices(b"\0\n(!=/", k=50)) + b"x"): i for i in range(40)}
    assert ask(*map(File, files)) == [Content(Path(path).read_bytes()) for path in files]


def test_any_name_is_only_a_name(ask, tmp_path: Path) -> None:
    paths = [write(tmp_path / name, name.encode()) for name in EVIL_NAMES]
    assert ask(*map(File, paths)) == [Content(name.encode()) for name in EVIL_NAMES]
    assert all(isinstance(status, Status) for status in ask(*map(Stat, paths)))
    assert ask(*(File(f"{path}?") for path in paths)) == [Absent()] * len(paths)
    assert {one.name for one in tmp_path.iterdir()} == set(EVIL_NAMES)


def test_evil_names_in_a_glob_and_a_tree(ask, tmp_path: Path) -> None:
    for name in EVIL_NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "tasks").write_text(name)
        (tmp_path / name / "empty").touch()
    expected = {str(tmp_path / name / "tasks"): Content(name.encode()) for name in EVIL_NAMES}
    empty = {str(tmp_path / name / "empty"): Content(b"") for name in EVIL_NAMES}
    globbed, tree = ask(Glob(f"{tmp_path}/*/tasks"), Tree(str(tmp_path), ("tasks", "empty")))
    assert globbed == expected
    assert tree == expected | empty


def test_what_several_sources_ask_for_is_read_once(ask, tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"once\n")
    sources = File(path), File(path, 10), Glob(f"{tmp_path}/*"), Glob(f"{tmp_path}/f*"), Tree(str(tmp_path), ("file",))
    one, other, *several = ask(*sources)
    assert one == other == Content(b"once\n")
    assert several == [{path: Content(b"once\n")}] * 3


def test_missing_empty_unreadable_and_too_large_are_four_facts(ask, tmp_path: Path) -> None:
    empty, large = write(tmp_path / "empty", b""), write(tmp_path / "large", b"x" * (2 << 20))
    file = write(tmp_path / "file", b"12345")
    assert ask(
        *(File(f"{tmp_path}/missing"), File(f"{file}/below"), File(empty), File(large), File(large, limit=3 << 20)),
        *(File(file, limit=5), File(str(tmp_path)), File("/proc/self/mem"), File("/dev/null")),
    ) == [
        *(Absent(), Absent(), Content(b""), TooLarge(MAX_FILE), Content(b"x" * (2 << 20))),
        *(Content(b"12345"), Unreadable("is a directory"), Unreadable("Input/output error")),
        Unreadable("is not a regular file"),
    ]
    assert ask(File(file, limit=4)) == [TooLarge(4)]


def test_a_fifo_does_not_hang(ask, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x\n")
    answers = ask(File(f"{tmp_path}/fifo"), Glob(f"{tmp_path}/f*"), Glob(f"{tmp_path}/f*", "x"))
    lines = {f"{tmp_path}/file": Content(b"x\n")}
    assert answers == [Unreadable("is not a regular file"), lines, lines]


def test_without_permission_is_not_missing() -> None:
    """Every Linux has a /root that is root's alone, and an /etc/shadow."""
    denied = Unreadable("Permission denied")
    sources = (
        File("/root/x"),
        Stat("/root/x"),
        File("/etc/shadow"),
        Glob("/root/*"),
        Tree("/root", ("x",)),
        Stat("/root"),
    )
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*nobody, "sh", "-s"], input=collector.script(sources, BOUNDARY), capture_output=True, check=True
    )
    answers = list(collector.parse(done.stdout, done.stderr, sources, BOUNDARY).values())
    assert answers[:-1] == [denied] * 5
    assert isinstance(answers[-1], Status)


def test_dangling_and_circular_links(ask, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    assert ask(File(f"{tmp_path}/dangling"), Stat(f"{tmp_path}/dangling")) == [Absent(), Absent()]
    [found] = ask(File(f"{tmp_path}/circle"))
    assert isinstance(found, Unreadable)


def test_a_glob_that_matches_nothing_is_empty(ask, tmp_path: Path) -> None:
    assert ask(Glob(f"{tmp_path}/*.conf"), Glob(f"{tmp_path}/none/*"), Glob(f"{tmp_path}/*", "x")) == [{}, {}, {}]


def test_a_glob_tells_each_file(ask, tmp_path: Path) -> None:
    write(tmp_path / "a", b"1")
    write(tmp_path / "b", b"x" * (MAX_FILE + 1))
    (tmp_path / "c").mkdir()
    assert ask(Glob(f"{tmp_path}/[a-c]")) == [{f"{tmp_path}/a": Content(b"1"), f"{tmp_path}/b": TooLarge(MAX_FILE)}]


def test_what_vanishes_before_it_is_read_is_not_in_a_glob(tmp_path: Path) -> None:
    kept, gone = write(tmp_path / "kept", b"1"), write(tmp_path / "gone", b"2")
    wrapper = tmp_path / "bin" / "xargs"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nrm -f {gone}\nexec {shutil.which("xargs")} "$@"\n')
    wrapper.chmod(0o755)
    sources = [Glob(f"{tmp_path}/*"), File(gone)]
    done = run("sh", collector.script(sources, BOUNDARY), {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"})
    answers = collector.parse(done.stdout, done.stderr, sources, BOUNDARY)
    assert [*answers.values()] == [{kept: Content(b"1")}, Unreadable("vanished while it was looked at")]


def test_only_the_lines_that_contain_the_text(ask, tmp_path: Path) -> None:
    a = write(tmp_path / "a", b"x='1'\npassword\nx='2'")
    b = write(tmp_path / "b", b"nothing")
    assert ask(Glob(f"{tmp_path}/*", "x='")) == [{a: Content(b"x='1'\nx='2'\n"), b: Content(b"")}]


def test_a_tree_takes_only_directories_within(ask, tmp_path: Path) -> None:
    for name in ("machine/one", "machine/qemu\\x2d1", "system/two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "tasks").write_text(name)
    within, escaped = ask(
        Tree(f"{tmp_path}/", ("tasks",), f"{tmp_path}/machine/*"),
        Tree(str(tmp_path), ("tasks",), "*/qemu\\\\x2d1"),
    )
    odd = f"{tmp_path}/machine/qemu\\x2d1/tasks"
    assert escaped == {odd: Content(b"machine/qemu\\x2d1")}
    assert within == escaped | {f"{tmp_path}/machine/one/tasks": Content(b"machine/one")}


def test_a_tree_without_root_is_missing(ask, tmp_path: Path) -> None:
    assert ask(Tree(f"{tmp_path}/none", ("tasks",)), Tree(str(tmp_path), ("tasks",))) == [Absent(), {}]


def test_a_tree_through_a_link(ask, tmp_path: Path) -> None:
    (tmp_path / "cpu,cpuacct").mkdir()
    (tmp_path / "cpu,cpuacct" / "cpu.shares").write_text("2\n")
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    assert ask(Tree(f"{tmp_path}/cpu", ("cpu.shares",))) == [{f"{tmp_path}/cpu/cpu.shares": Content(b"2\n")}]


def test_processes_and_their_threads(ask) -> None:
    code = "import threading, sys; threading.Thread(target=sys.stdin.read).start(); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        pid = process.pid
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        [found, none] = ask(Processes(f"{comm[:3]}*", ("comm",), ("status",)), Processes("no such", ("comm",)))
        threads = {f"{tid}/status" for tid in Path(f"/proc/{pid}/task").iterdir()}
    own = {path: one for path, one in found.items() if path.startswith(f"/proc/{pid}/")}
    assert own.keys() == threads | {f"/proc/{pid}/comm"}
    assert len(threads) == 2
    assert own[f"/proc/{pid}/comm"] == Content(f"{comm}\n".encode())
    assert none == {}


def test_status(ask, tmp_path: Path) -> None:
    path = write(tmp_path / "key", b"12345")
    Path(path).chmod(0o640)
    empty = write(tmp_path / "empty", b"")
    file, nothing, folder, missing = ask(Stat(path), Stat(empty), Stat(str(tmp_path)), Stat(path + "x"))
    facts = Path(path).stat()
    assert (file.kind, file.mode, file.uid, file.gid, file.size) == (
        "regular file",
        0o640,
        facts.st_uid,
        facts.st_gid,
        5,
    )
    assert (nothing.kind, folder.kind, missing) == ("regular file", "directory", Absent())


def test_commands(ask) -> None:
    assert ask(
        Command(("sh", "-c", "printf 'o\\0'; printf e >&2; exit 3")),
        Command(("printf", "%s", "$(id) `id` 'quoted' *")),
        Command(("no-such-command", "x")),
        Command(("cat",)),
        Command(("sh", "-c", f"yes | head -c {MAX_OUTPUT + 1}")),
        Command(("sh", "-c", "yes | head -c 3000000 >&2")),
    ) == [
        *(Completed(3, b"o\0", b"e"), Completed(0, b"$(id) `id` 'quoted' *", b""), Absent(), Completed(0, b"", b"")),
        *(TooLarge(MAX_OUTPUT), Completed(0, b"", b"y\n" * 1_500_000)),
    ]


def test_commands_that_differ_only_in_what_they_are_about_are_one(ask, tmp_path: Path) -> None:
    log = f"{tmp_path}/log"
    once = ("sh", "-c", f"echo >>{log}; echo of $*", "sh")
    both, alone = Completed(0, b"of a b;c d\n", b""), Completed(0, b"of\n", b"")
    wanted = Command(once, ("d", "a")), Command(once, ("a", "b;c")), Command(once), Command(once, ("\0",))
    assert ask(*wanted) == [both, both, alone, collector.NOT_ASKABLE]
    assert Path(log).read_text() == "\n\n"


def test_a_command_without_end_takes_those_after_it_along(ask, tmp_path: Path) -> None:
    path = write(tmp_path / "file", b"whole")
    for endless in ("yes", "yes >&2"):
        assert ask(Command(("echo", "x")), Command(("sh", "-c", endless)), Command(("echo", "y")), File(path)) == [
            *(Completed(0, b"x\n", b""), TooLarge(MAX_BULK), TooLarge(MAX_BULK), Content(b"whole")),
        ]


def test_what_cannot_be_asked_for_says_so(ask) -> None:
    sources = File("relative"), File("/a\0b"), Command(("x\0",)), File("/\ud800"), Tree("", ("x",)), Stat("")
    assert ask(*sources, File("/proc/version"))[:6] == [collector.NOT_ASKABLE] * 6


def test_a_private_key_is_never_kept(ask, tmp_path: Path) -> None:
    canary = b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n"
    path = write(tmp_path / "key.pem", canary)
    answers = ask(File(path), Glob(f"{tmp_path}/*"), Glob(f"{tmp_path}/*", "PRIV"), Tree(str(tmp_path), ("key.pem",)))
    answers += ask(Command(("cat", path)), Command(("sh", "-c", f"cat {path} >&2")))
    kept = collector.PRIVATE
    assert answers == [kept, {path: kept}, {path: kept}, {path: kept}, kept, kept]


def test_no_sources_is_an_answer_too(ask) -> None:
    assert ask() == []


# --- what cuts an answer off

SOURCES = (File("/proc/version"), Glob("/proc/sys/kernel/osty*"), Stat("/proc"), Command(("echo", "x")))


@pytest.fixture
def said() -> subprocess.CompletedProcess[bytes]:
    return run("sh", collector.script(SOURCES, BOUNDARY), dict(os.environ))


def test_half_an_answer_is_none(said: subprocess.CompletedProcess[bytes]) -> None:
    whole = collector.parse(said.stdout, said.stderr, SOURCES, BOUNDARY)
    assert not any(isinstance(answer, Unreadable) for answer in whole.values())
    for end in range(len(said.stdout) - 1):
        with pytest.raises(CannotLook):
            collector.parse(said.stdout[:end], said.stderr, SOURCES, BOUNDARY)
    for end in range(len(said.stderr) - 1):
        with pytest.raises(CannotLook):
            collector.parse(said.stdout, said.stderr[:end], SOURCES, BOUNDARY)


def test_a_greeting_before_the_answer_is_not_part_of_it(said: subprocess.CompletedProcess[bytes]) -> None:
    whole = collector.parse(said.stdout, said.stderr, SOURCES, BOUNDARY)
    assert collector.parse(b"Welcome!\n" + said.stdout, b"motd\n" + said.stderr, SOURCES, BOUNDARY) == whole


def test_garbled_bytes_are_an_error_or_the_answer(said: subprocess.CompletedProcess[bytes]) -> None:
    """Whatever a machine says, only CannotLook is raised."""
    chance = random.Random(2)
    for _ in range(300):
        broken = bytearray(said.stdout)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(len(broken))] = chance.choice(b"\0\n (!=/5")
        with suppress(CannotLook):
            collector.parse(bytes(broken), said.stderr, SOURCES, BOUNDARY)


def test_half_a_script_does_nothing(tmp_path: Path) -> None:
    script = collector.script([Command(("touch", f"{tmp_path}/done"))], BOUNDARY)
    for end in (len(script) // 2, len(script) - 2):
        run("sh", script[:end], dict(os.environ))
    assert not (tmp_path / "done").exists()


def test_no_shell_is_said_in_words() -> None:
    with pytest.raises(CannotLook, match="no POSIX shell answered: This account is currently not available"):
        collector.parse(b"This account is currently not available.\n", b"", SOURCES, BOUNDARY)


@pytest.mark.skipif(not BUSYBOX, reason="no busybox")
def test_a_machine_without_the_tools_says_which(tmp_path: Path) -> None:
    for tool in ("head", "tail", "cat", "grep", "stat", "sort"):
        (tmp_path / tool).symlink_to(str(BUSYBOX))
    script = collector.script(SOURCES, BOUNDARY).replace(b":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", b"")
    done = run("/bin/sh", script, {"PATH": str(tmp_path)})
    with pytest.raises(CannotLook, match="has no find and no xargs"):
        collector.parse(done.stdout, done.stderr, SOURCES, BOUNDARY)


def test_what_did_not_fit_is_too_large_and_the_rest_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtvet.snapshot.script.MAX_BULK", 5000)
    first = write(tmp_path / "first", b"x" * 1000)
    many = [write(tmp_path / f"many{i:02}", b"y" * 1000) for i in range(20)]
    sources = File(first), Glob(f"{tmp_path}/many*"), Tree(str(tmp_path), ("first", "many03")), Command(("echo", "x"))
    done = run("sh", collector.script(sources, BOUNDARY), dict(os.environ))
    file, globbed, tree, command = collector.parse(done.stdout, done.stderr, sources, BOUNDARY).values()
    assert file == Content(b"x" * 1000)
    assert command == Completed(0, b"x\n", b"")
    assert tree == TooLarge(MAX_BULK)
    assert globbed[many[-1]] == TooLarge(MAX_BULK)


@pytest.mark.parametrize(
    ("pattern", "quoted", "directory"),
    [
        ("/sys/bus/pci/devices/*/vendor", "/sys/bus/pci/devices/*/vendor", "/sys/bus/pci/devices"),
        ("/a b/[!x]*;id", "'/a b/'[!x]*';id'", "/a b"),
        ("/etc/?", "/etc/?", "/etc"),
        ("/$(id)/*", "'/$(id)/'*", "/$(id)"),
        ("/*", "/*", ""),
    ],
)
def test_a_pattern_keeps_nothing_but_its_pattern_characters(pattern: str, quoted: str, directory: str) -> None:
    assert shell_pattern(pattern) == quoted
    assert fixed_directory(pattern) == directory


def test_ten_times_the_files_cost_no_process_more(tmp_path: Path) -> None:
    """Every program is a shim that makes a mark and runs the real one. (Where grep is GNU's.)"""
    marks = tmp_path / "marks"
    for tool in ("sh", "cat", "find", "grep", "head", "printf", "sort", "stat", "tail", "xargs"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho {tool} >>{marks}\nexec {shutil.which(tool)} "$@"\n')
        (tmp_path / tool).chmod(0o755)

    def programs(files: int) -> list[str]:
        marks.write_text("")
        paths = [write(tmp_path / f"file{i}", b"x") for i in range(files)]
        sources = [
            *map(File, paths),
            *map(Stat, paths),
            File("/nope"),
            Glob(f"{tmp_path}/file*"),
            Tree("/proc/tty", ("drivers",)),
        ]
        run("/bin/sh", collector.script(sources, BOUNDARY), {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        return sorted(marks.read_text().split())

    assert programs(30) == programs(3)
