"""What the script (see `script`) said, as answers: pure, strict, and fail-closed. Hostile bytes are only ever data."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate

from virtvet.errors import CannotLook
from virtvet.snapshot.model import (
    Absent,
    Answer,
    Completed,
    Content,
    FileAnswer,
    Status,
    TooLarge,
    Unreadable,
)
from virtvet.snapshot.script import COMMAND_SECONDS, MAX_BULK, askable, run_once, script
from virtvet.snapshot.sources import (
    MAX_FILE,
    MAX_OUTPUT,
    Command,
    File,
    Glob,
    HostSource,
    Processes,
    Source,
    Stat,
    Tree,
)

__all__ = ["boundary", "parse", "script"]

NOT_ASKABLE = Unreadable("cannot be asked for: not an absolute path, or a character that no path can have")
PRIVATE = Unreadable("holds a private key, which virtvet never keeps")
GARBLED = CannotLook("the machine", "its answer is garbled")
LATE = Unreadable(f"did not end within {COMMAND_SECONDS} s")
GONE = (
    "No such file or directory",
    "No such process",
    "No such file",
    "no such file",
    "Not a directory",
    "No such device",
)
SECRET = b"PRIVATE KEY-----"
PROCESS_FILE = re.compile(r"(?P<process>/proc/\d+)/(?P<file>.*)", re.DOTALL)


def boundary() -> str:
    """128 random bits for one look, so that nothing a machine holds can look like a frame."""
    return secrets.token_hex(16)


def parse(stdout: bytes, stderr: bytes, sources: Sequence[HostSource], boundary: str) -> dict[Source, Answer]:
    """One answer for every source, from the script's two streams.

    Raises CannotLook when the streams do not end as the script ends: half an answer is none.
    """
    said = Said(_frames(stdout, boundary), _frames(stderr, boundary))
    _must_be_whole(said, stdout, stderr)
    try:
        return _answers(said, sources, boundary)
    except (ValueError, LookupError):
        raise GARBLED from None


def _answers(said: Said, sources: Sequence[HostSource], boundary: str) -> dict[Source, Answer]:
    files, stats = _files(said), _stats(said, boundary)
    asked = [(i, source) for i, source in enumerate(sources) if askable(source)]
    places = {i: same[0][0] for same in run_once(asked) for i, _command in same}
    answers: dict[Source, Answer] = dict.fromkeys(sources, NOT_ASKABLE)
    answers |= {source: _safe(_answer(places.get(i, i), source, said, files, stats)) for i, source in asked}
    return answers


@dataclass(frozen=True, slots=True)
class Said:
    """Frames by header, of both streams."""

    out: Mapping[str, bytes]
    err: Mapping[str, bytes]

    def under(self, word: str) -> Iterator[tuple[str, bytes, bytes]]:
        """The frames whose header begins with this word: the rest of the header, both bodies."""
        for header, body in self.out.items():
            if header.startswith(word + " "):
                yield header.removeprefix(word + " "), body, self.err.get(header, b"")


def _frames(stream: bytes, boundary: str) -> dict[str, bytes]:
    """b"\\nB end\\0" -> {"end": b""}. What stands before the first frame (a login script's greeting) is not ours."""
    parts = (part.partition(b"\0") for part in stream.split(b"\n" + boundary.encode() + b" ")[1:])
    return {_text(header): body for header, _nul, body in parts}


def _must_be_whole(said: Said, stdout: bytes, stderr: bytes) -> None:
    if lacking := [tool for tool, _out, _err in said.under("lacks")]:
        raise CannotLook("the machine", f"has no {' and no '.join(lacking)}: virtvet needs these tools there")
    if said.out.get("end") != b"" or said.err.get("end") is None:
        words = " ".join((stderr[:200] + b" " + stdout[:200]).decode(errors="backslashreplace").split())
        raise CannotLook("the machine", "its answer was cut off" if said.out else f"no POSIX shell answered: {words}")


# --- files


@dataclass(frozen=True, slots=True)
class Read:
    """Everything that was read, by path. What is not here was not read: see `cut` and `failed`."""

    answers: Mapping[str, FileAnswer]
    cut: bool = False
    failed: str = ""
    """Why the reading as a whole cannot be trusted to be complete."""
    trouble: tuple[tuple[str, str], ...] = ()
    """What find(1) complained about: (words with the path in them, reason)."""

    def one(self, path: str) -> FileAnswer:
        """A file that was there when the look began."""
        if path in self.answers:
            return self.answers[path]
        return TooLarge(MAX_BULK) if self.cut else Unreadable(self.failed or "vanished while it was looked at")

    def still_there(self, paths: Iterable[str]) -> Mapping[str, FileAnswer]:
        """Of files that were listed, those that did not vanish before they were read: an interrupt that was freed."""
        may_be_there = self.cut or bool(self.failed)
        return {path: self.one(path) for path in paths if may_be_there or path in self.answers}


def _files(said: Said) -> Read:
    """The frames from `read` to `rest`."""
    errors = said.err.get("read", b"")
    rest = [rc for rc, _out, _err in said.under("rest")]
    failed = "" if not rest or rest[0] in ("0", "123") else f"xargs ended with exit code {rest[0]}"
    looped = {path: _looped(out, err) for path, out, err in said.under("file")}
    last = next(reversed(looped), None)
    if not rest and last is not None:
        del looped[last]
    together = dict(_records(said.out.get("read", b""), errors, cut=not rest))
    known = {path: found for path, found in (looped | together).items() if found is not None}
    return Read(known, cut=not rest, failed=failed, trouble=tuple(_complaints(errors, b"find: ")))


def _looped(out: bytes, err: bytes) -> FileAnswer | None:
    reason = _reason(err)
    if reason:
        return None if reason in GONE else Unreadable(reason)
    return Content(_without_last_nul(out))


def _records(body: bytes, errors: bytes, cut: bool) -> Iterator[tuple[str, FileAnswer | None]]:
    """NUL-ended tokens: `!path` a file that is too large; a batch is `(`, its paths, an empty token, (path, record)
    pairs, an empty token, grep's exit code.

    b"(\\0/a\\0/b\\0\\0/a\\0hello\\n\\0\\0000\\0" -> ("/a", Content(b"hello\\n")), ("/b", Content(b"")).
    """
    tokens = iter(body.split(b"\0")[:-1])
    for token in tokens:
        if token.startswith(b"!"):
            yield _text(token[1:]), TooLarge(MAX_FILE)
        elif token == b"(":
            yield from _batch(tokens, errors, cut)
        else:
            raise GARBLED


@dataclass(slots=True)
class Batch:
    """One grep's files."""

    listed: list[bytes]
    records: dict[bytes, list[bytes]] = field(default_factory=dict)
    returncode: bytes = b""


def _batch(tokens: Iterator[bytes], errors: bytes, cut: bool) -> Iterator[tuple[str, FileAnswer | None]]:
    batch = Batch(list(iter(lambda: next(tokens, b""), b"")))
    while path := next(tokens, b""):
        if not path.startswith(b"/"):
            raise GARBLED
        batch.records.setdefault(path, []).append(next(tokens, b""))
    batch.returncode = next(tokens, b"")
    if cut and not batch.returncode:
        yield from _cut_batch(batch)
    else:
        yield from _whole_batch(batch, errors)


def _cut_batch(batch: Batch) -> Iterator[tuple[str, FileAnswer | None]]:
    """Only the files before the last one that has a record are surely whole."""
    for path in list(batch.records)[:-1]:
        yield _text(path), _content(batch.records[path])


def _whole_batch(batch: Batch, errors: bytes) -> Iterator[tuple[str, FileAnswer | None]]:
    reasons = dict(_complaints(errors, b"grep: "))
    strange = batch.returncode not in (b"0", b"1") and not set(reasons) & set(map(_text, batch.listed))
    for path in batch.listed:
        name = _text(path)
        reason = reasons.get(name) or _found_by_search(path, errors)
        if reason:
            yield name, None if reason in GONE else Unreadable(reason)
        elif path in batch.records:
            yield name, _content(batch.records[path])
        else:
            yield name, Unreadable("grep failed") if strange else Content(b"")


def _content(records: list[bytes]) -> Content:
    return Content(b"\0".join(records))


def _without_last_nul(data: bytes) -> bytes:
    """grep ends every record with NUL, so whether a file ended with one is not known: it never does, here."""
    return data.removesuffix(b"\0")


def _complaints(errors: bytes, program: bytes) -> Iterator[tuple[str, str]]:
    """b"grep: /proc/self/mem: Input/output error\\n" -> ("/proc/self/mem", "Input/output error")."""
    for line in errors.split(b"\n"):
        if line.startswith(program):
            path, _colon, reason = line.removeprefix(program).rpartition(b": ")
            yield _text(path), _text(reason)


def _found_by_search(path: bytes, errors: bytes) -> str:
    """The reason for a path with a newline in its name."""
    if b"\n" not in path:
        return ""
    _before, _path, after = errors.partition(b"grep: " + path + b": ")
    return _text(after.partition(b"\n")[0])


def _reason(err: bytes) -> str:
    """The reason at the end of a shell's complaint: b"sh: 3: cannot open /x: No such file\\n" -> "No such file"."""
    return _text(err.strip().rpartition(b": ")[2])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- answers


def _answer(i: int, source: HostSource, said: Said, files: Read, stats: Mapping[str, Status]) -> Answer:
    match source:
        case File(path, limit):
            return _odd(said, path) or _limited(files.one(path), limit)
        case Stat(path):
            return stats.get(path) or _odd(said, path) or Unreadable("stat(1) said nothing about it")
        case Command():
            return _command(i, said)
        case Glob(_pattern, ""):
            return _blind(i, said, files.still_there(_listed(i, said)))
        case Glob():
            return _blind(i, said, _lines(i, said))
        case Processes():
            return _bounded(_of_processes(source, _listed(i, said), files), files)
        case Tree():
            return _tree(i, source, said, files)


def _odd(said: Said, path: str) -> FileAnswer | None:
    """Why a path is no regular file; None when it is one. A Stat's is only asked when the path cannot be seen."""
    header = f"odd {path}"
    if header not in said.out:
        return None
    reason = _text(said.out[header]) or _reason(said.err.get(header, b""))
    return Absent() if reason in GONE else Unreadable(reason or "appeared while it was looked at")


def _limited(found: FileAnswer, limit: int) -> FileAnswer:
    match found:
        case TooLarge(least):
            return TooLarge(max(least, limit))
        case Content(data) if len(data) > limit:
            return TooLarge(limit)
    return found


def _listed(i: int, said: Said) -> list[str]:
    return [_text(path) for path in said.out.get(f"list {i}", b"").split(b"\0")[:-1]]


def _blind(i: int, said: Said, found: Mapping[str, FileAnswer] | TooLarge) -> Answer:
    """An empty Glob is a fact only if its directory could be read."""
    reason = _reason(said.err.get(f"list {i}", b""))
    if reason and reason not in GONE:
        return Unreadable(reason)
    return found if isinstance(found, TooLarge) else {path: _limited(one, MAX_FILE) for path, one in found.items()}


def _of_processes(source: Processes, processes: Iterable[str], files: Read) -> dict[str, FileAnswer]:
    """A process or thread that ended meanwhile is not there; its files that were read before are."""
    running = set(processes)
    parts = ((PROCESS_FILE.fullmatch(path), path, one) for path, one in files.answers.items())
    return {
        path: _limited(one, MAX_FILE)
        for found, path, one in parts
        if found and found["process"] in running and _wanted(found["file"], source)
    }


def _wanted(name: str, source: Processes) -> bool:
    """Whether "status" or "task/42/status" is among the files that were asked for."""
    task, _slash, file = name.removeprefix("task/").partition("/")
    return name in source.files or (name.startswith("task/") and task.isdigit() and file in source.task_files)


def _bounded(found: Mapping[str, FileAnswer], files: Read) -> Answer:
    """A list that may have lost members is not a list."""
    if files.cut:
        return TooLarge(MAX_BULK)
    return Unreadable(files.failed) if files.failed else dict(found)


def _tree(i: int, source: Tree, said: Said, files: Read) -> Answer:
    if reason := _reason(said.err.get(f"list {i}", b"")):
        return Absent() if reason in GONE else Unreadable(reason)
    root = source.root.rstrip("/") + "/"
    for words, reason in files.trouble:
        if root in words + "/" and reason not in GONE:
            return Unreadable(f"{words}: {reason}")
    within = re.compile(translate(re.sub(r"\\(.)", r"[\1]", source.within)))
    found = {
        path: _limited(one, MAX_FILE) for path, one in files.answers.items() if _in_tree(path, root, source, within)
    }
    return _bounded(found, files)


def _in_tree(path: str, root: str, source: Tree, within: re.Pattern[str]) -> bool:
    directory, _slash, name = path.rpartition("/")
    return path.startswith(root) and name in source.names and within.match(directory) is not None


def _lines(i: int, said: Said) -> dict[str, FileAnswer] | TooLarge:
    """A Glob with `containing`: every file listed, with its lines that contain the text."""
    found: dict[str, FileAnswer] = {path: Content(b"") for path in _listed(i, said)}
    for path, out, err in said.under(f"line {i}"):
        found[path] = Unreadable(_reason(err)) if err else Content(out)
    if f"grep {i}" in said.out:
        if not any(True for _rc in said.under(f"grepped {i}")):
            return TooLarge(MAX_BULK)
        found |= {_text(path): Content(lines) for path, lines in _path_lines(said.out[f"grep {i}"]).items()}
        found |= {
            path: Unreadable(why)
            for path, why in _complaints(said.err.get(f"grep {i}", b""), b"grep: ")
            if path in found
        }
    return found


def _path_lines(body: bytes) -> dict[bytes, bytes]:
    """b"/a\\0x=1\\n/a\\0x=2\\n" -> {b"/a": b"x=1\\nx=2\\n"}."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        nul = body.index(b"\0", at)
        end = body.index(b"\n", nul) + 1
        found[body[at:nul]] = found.get(body[at:nul], b"") + body[nul + 1 : end]
        at = end
    return found


def _stats(said: Said, boundary: str) -> dict[str, Status]:
    records = said.out.get("stat", b"").split(f" {boundary}\n".encode())[:-1]
    return dict(map(_status, records))


def _status(record: bytes) -> tuple[str, Status]:
    """b"644 0 0 221 root root regular file:/etc/hosts" -> ("/etc/hosts", Status("regular file", 0o644, "root", …))."""
    facts, _colon, path = record.partition(b":")
    mode, uid, gid, size, owner, group, kind = _text(facts).split(" ", 6)
    kind = kind.replace("regular empty file", "regular file")
    return _text(path), Status(kind, int(mode, 8), owner, group, int(uid), int(gid), int(size))


def _command(i: int, said: Said) -> Answer:
    if f"none {i}" in said.out:
        return Absent()
    ends = [rc for rc, _out, _err in said.under(f"ran {i}") if f"ran {i} {rc}" in said.err]
    if not ends:
        return TooLarge(MAX_BULK)
    out, err, returncode = said.out[f"run {i}"], said.err[f"run {i}"], int(ends[0])
    if returncode in (124, 137):
        return LATE
    if max(len(out), len(err)) > MAX_OUTPUT:
        return TooLarge(MAX_OUTPUT)
    return Completed(returncode, out, err)


# --- secrets


def _safe(answer: Answer) -> Answer:
    """No private key is ever kept: where one was read, the answer says so instead."""
    match answer:
        case Content(data) if SECRET in data:
            return PRIVATE
        case Completed(_rc, out, err) if SECRET in out or SECRET in err:
            return PRIVATE
        case Mapping():
            return {
                path: PRIVATE if isinstance(one, Content) and SECRET in one.data else one
                for path, one in answer.items()
            }
    return answer
