"""What machines answered, as text that people can review; what is read back equals what was written.

    ===== /run/libvirt/qemu/web1.pid
    4711
    \\ no newline at the end
    ===== qemu.ARGUMENTS (zero bytes as newlines)
    /proc/4711/cmdline:-name
    ===== /sys/class/net/lo/carrier (unreadable: Invalid argument)

`===== WHAT`, then what it said: a file, each file of a Glob, Tree or Processes by its path; `stat PATH`; a command
without what it is about, or the name of the constant that declares it; `query-balloon of web1's QEMU`; `libvirt`,
`virsh dumpxml [--inactive] web1`. `inside web1 WHAT` is what a guest answered. What is no text for the eye (control
characters, no UTF-8) is in base64.
"""

from __future__ import annotations

import re
from base64 import b64decode, encodebytes
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from virtvet.probes import (
    confinement,
    dropins,
    hostdevs,
    hotplug_rules,
    interfaces,
    kernel_release,
    nic_bandwidth,
    qemu,
    ram,
)
from virtvet.probes.systemd import Units
from virtvet.snapshot import model
from virtvet.snapshot.model import (
    Absent,
    Answer,
    Completed,
    Content,
    Domain,
    Failed,
    FileAnswer,
    LibvirtAnswer,
    Snapshot,
    Status,
    TooLarge,
    Unreadable,
)
from virtvet.snapshot.sources import (
    Command,
    File,
    Glob,
    HostSource,
    Libvirt,
    Network,
    NodeDevice,
    Processes,
    Qmp,
    Source,
    Stat,
    Tree,
)

TAKEN = datetime(2026, 11, 23, tzinfo=UTC)
"""When is not in the text: every line of it would differ."""
OPEN_END = "\\ no newline at the end\n"
ZEROS, BASE64 = "zero bytes as newlines", "base64"
NAMED: Mapping[Command, str] = {
    qemu.ARGUMENTS: "qemu.ARGUMENTS",
    interfaces.TAPS: "interfaces.TAPS",
    hostdevs.HELD: "hostdevs.HELD",
    dropins.HIDING: "dropins.HIDING",
    kernel_release.INSTALLED: "kernel_release.INSTALLED",
    nic_bandwidth.TC: "nic_bandwidth.TC",
    hotplug_rules.RULES: "hotplug_rules.RULES",
    confinement.NAMESPACES: "confinement.NAMESPACES",
    Units.of(()).shown: "systemctl show",
    **{ram.mapped(guest): f"ram.mapped {guest}" for guest in ("app1", "plain1")},
}
"""Commands that are programs; others stand for themselves: `getconf PAGESIZE`."""

_HEADER = re.compile(
    r"===== (?P<what>[^\n]+?)(?: \((?P<mark>absent|(?:unreadable|failed): [^\n]*|larger than \d+ bytes|"
    rf"{ZEROS}|{BASE64})\))?\n"
)
_UUID = re.compile(r"<uuid>(.*?)</uuid>")


@dataclass(frozen=True, slots=True)
class Said:
    """What was answered to one question: its text, and how to understand it ("" for: as it is)."""

    text: str = ""
    mark: str = ""

    def answer(self) -> FileAnswer | Failed:
        """As a snapshot has it."""
        kind, _, reason = self.mark.partition(": ")
        match kind:
            case "absent":
                return Absent()
            case "unreadable":
                return Unreadable(reason)
            case "failed":
                return Failed(reason)
            case "base64":
                return Content(b64decode(self.text))
            case "":
                return Content(self.text.encode())
        if kind == ZEROS:
            return Content(self.text.replace("\n", "\0").encode())
        return TooLarge(int(kind.split()[2]))


def said(answer: Answer) -> Said:
    """The answer to one question as text."""
    match answer:
        case Content(data):
            return _content(data)
        case Absent():
            return Said(mark="absent")
        case TooLarge(limit):
            return Said(mark=f"larger than {limit} bytes")
        case Unreadable(reason):
            return Said(mark=f"unreadable: {reason}")
        case Failed(reason):
            return Said(mark=f"failed: {reason}")
    raise ValueError(f"{answer} cannot be written as text")


def _content(data: bytes) -> Said:
    if _is_plain(data):
        return Said(data.decode())
    if b"\n" not in data and _is_plain(data.replace(b"\0", b"\n")):
        return Said(data.replace(b"\0", b"\n").decode(), ZEROS)
    return Said(encodebytes(data).decode(), BASE64)


def _is_plain(data: bytes) -> bool:
    """Whether it is what it looks like."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    lines = text.split("\n")
    return text.replace("\n", "").replace("\t", "").isprintable() and not any(
        line.startswith("===== ") or f"{line}\n" == OPEN_END for line in lines
    )


# --- text


def written(parts: Mapping[str, Said]) -> str:
    """Raises ValueError for what would be read back as something else."""
    text = "".join(_written(what, one) for what, one in parts.items())
    if read(text) != dict(parts):
        raise ValueError("what was recorded cannot be written as text: it looks like the text's own marks")
    return text


def _written(what: str, one: Said) -> str:
    end = f"\n{OPEN_END}" if one.text and not one.text.endswith("\n") else ""
    return f"===== {what}{f' ({one.mark})' if one.mark else ''}\n{one.text}{end}"


def read(text: str) -> dict[str, Said]:
    """What stands before the first `=====` is for people. Raises ValueError for one thing said twice."""
    headers = [match for match in _HEADER.finditer(text) if match.start() == 0 or text[match.start() - 1] == "\n"]
    ends = [*(match.start() for match in headers[1:]), len(text)]
    found = [
        (match["what"], Said(text[match.end() : end].removesuffix(f"\n{OPEN_END}"), match["mark"] or ""))
        for match, end in zip(headers, ends, strict=False)
    ]
    if len(found) != len(dict(found)):
        raise ValueError("one thing is said twice")
    return dict(found)


# --- from a snapshot


def parts(snapshot: Snapshot) -> dict[str, Said]:
    """Everything a snapshot holds, files of one source in the order of their names. Raises ValueError."""
    found: dict[str, Said] = {}
    for what, answer in _every(snapshot):
        if found.setdefault(what, said(answer)) != said(answer):
            raise ValueError(f"two answers to {what}")
    return found


def _every(snapshot: Snapshot) -> Iterator[tuple[str, Answer]]:
    if snapshot.unreachable:
        raise ValueError(f"{snapshot.machine} could not be looked at: {snapshot.unreachable}")
    for source, answer in snapshot.answers.items():
        yield from _answered(source, answer)
    for name, guest in snapshot.guests.items():
        yield from ((f"inside {name} {what}", answer) for what, answer in _every(guest))


def _answered(source: Source, answer: Answer) -> Iterator[tuple[str, Answer]]:
    match answer:
        case LibvirtAnswer():
            yield from _libvirt(answer)
        case Completed(returncode, stdout, stderr):
            yield label(source), Content(stdout)
            if stderr:
                yield f"{label(source)} stderr", Content(stderr)
            if returncode:
                yield f"{label(source)} exit status", _text(f"{returncode}\n")
        case Status(kind, mode, owner, group, uid, gid, size):
            yield label(source), _text(f"{mode:04o} {uid}:{gid} {owner}:{group} {size} {kind}\n")
        case Mapping():
            yield from ((path, answer[path]) for path in sorted(answer, key=_natural))
        case _:
            yield label(source), answer


def _libvirt(answer: LibvirtAnswer) -> Iterator[tuple[str, Answer]]:
    facts = (answer.uri, answer.hostname, answer.libvirt_version, answer.qemu_version)
    yield "libvirt", _text("".join(f"{fact}\n" for fact in facts))
    if answer.capabilities_xml:
        yield "virsh capabilities", _text(answer.capabilities_xml)
    for name, domain in sorted(answer.domains.items()):
        if domain != _domain(name, domain.live_xml, domain.config_xml):
            raise ValueError(f"{name}: there is more to it than its XML")
        yield f"virsh dumpxml {name}", _text(domain.live_xml)
        yield f"virsh dumpxml --inactive {name}", _text(domain.config_xml)


def _text(text: str | None) -> Content | Absent:
    return Absent() if text is None else Content(text.encode())


def label(source: Source) -> str:
    """What stands behind `=====`. Raises ValueError for a program without a name, and for handshakes."""
    match source:
        case Command(argv):
            name = NAMED.get(Command(argv), " ".join(argv))
            if not re.fullmatch(r"[^\n]{1,200}", name):
                raise ValueError(f"this command needs a name: {name[:100]!r}")
            return name
        case File() | Stat() | Glob() | Tree() | Processes() | Libvirt() | Qmp() | NodeDevice() | Network():
            return str(source)
    raise ValueError(f"{source} cannot be written as text")


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(word) if word.isdecimal() else 0, word) for word in re.split(r"(\d+)", path)]


# --- to a snapshot

Answers = Mapping[str, Answer]


def snapshot(
    machine: str, found: Answers, sources: Iterable[Source], inside: Mapping[str, Collection[HostSource]]
) -> Snapshot:
    """What these sources, and those inside each guest, answered. What is not in the text was not asked."""
    answers = _answers(sources, found)
    within = {name: _inside(name, found) for name in inside}
    guests = {
        name: Snapshot(f"{machine}/{name}", TAKEN, _answers(wanted, within[name]))
        for name, wanted in inside.items()
        if within[name]
    }
    known = told.domains if isinstance(told := answers.get(Libvirt()), LibvirtAnswer) else {}
    by_hand = {guest: pid for guest, pid in qemu.started_by_hand(answers).items() if guest not in known}
    return Snapshot(machine, TAKEN, answers, guests, by_hand=by_hand)


def _inside(name: str, found: Answers) -> Answers:
    prefix = f"inside {name} "
    return {what.removeprefix(prefix): answer for what, answer in found.items() if what.startswith(prefix)}


def _answers(sources: Iterable[Source], found: Answers) -> dict[Source, Answer]:
    pairs = ((source, _answer(source, found)) for source in sources)
    return {source: answer for source, answer in pairs if answer is not None}


def _answer(source: Source, found: Answers) -> Answer | None:
    answer = found.get(label(source))
    match source, answer:
        case Libvirt(), Content(facts):
            return _said_by_libvirt(facts.decode(), found)
        case Command(), Content(stdout):
            return _completed(label(source), stdout, found)
        case Stat(), Content(data):
            return _status(data.decode())
        case ((Glob() | Tree() | Processes()), None):
            return _files(source, found)
    return answer


def _completed(what: str, stdout: bytes, found: Answers) -> Completed:
    stderr, status = found.get(f"{what} stderr"), found.get(f"{what} exit status")
    returncode = int(status.data) if isinstance(status, Content) else 0
    return Completed(returncode, stdout, stderr.data if isinstance(stderr, Content) else b"")


def _status(text: str) -> Status:
    mode, numbers, names, size, kind = text.rstrip("\n").split(" ", 4)
    (uid, gid), (owner, group) = numbers.split(":"), names.split(":")
    return Status(kind, int(mode, 8), owner, group, int(uid), int(gid), int(size))


def _said_by_libvirt(facts: str, found: Answers) -> LibvirtAnswer:
    uri, hostname, libvirt, hypervisor = facts.splitlines()
    names = {what.rpartition(" ")[2] for what in found if what.startswith("virsh dumpxml ")}
    documents = {name: (_xml(found, name), _xml(found, f"--inactive {name}")) for name in names}
    domains = {name: _domain(name, *both) for name, both in documents.items() if any(both)}
    capabilities = found.get("virsh capabilities")
    told = capabilities.data.decode() if isinstance(capabilities, Content) else ""
    return LibvirtAnswer(uri, hostname, int(libvirt), int(hypervisor), told, domains)


def _xml(found: Answers, name: str) -> str | None:
    document = found.get(f"virsh dumpxml {name}")
    return document.data.decode() if isinstance(document, Content) else None


def _domain(name: str, live: str | None, config: str | None) -> Domain:
    uuid = _UUID.search(live or config or "")
    state = "running" if live else "shut off"
    return Domain(name, uuid[1] if uuid else "", state, config is not None, live, config)


def _files(source: Glob | Tree | Processes, found: Answers) -> model.Files:
    is_one = _member(source, found)
    return {
        path: answer
        for path, answer in found.items()
        if isinstance(answer, Content | Unreadable | TooLarge) and path.startswith("/") and is_one(PurePosixPath(path))
    }


def _member(source: Glob | Tree | Processes, found: Answers) -> Callable[[PurePosixPath], bool]:
    match source:
        case Glob(pattern):
            return lambda path: path.match(pattern)
        case Tree(root, names, within):
            return lambda path: (
                path.is_relative_to(root) and path.name in names and fnmatchcase(str(path.parent), within)
            )
        case Processes(comm, files, task_files):
            return lambda path: (
                (
                    (path.is_relative_to("/proc") and "/".join(path.parts[3:]) in files)
                    or (path.match("/proc/[0-9]*/task/[0-9]*/*") and path.name in task_files)
                )
                and _named(path, comm, found)
            )


def _named(path: PurePosixPath, pattern: str, found: Answers) -> bool:
    """Whether it is of a process that bears such a name, as far as that was recorded."""
    comm = found.get(f"/proc/{path.parts[2]}/comm")
    return not isinstance(comm, Content) or fnmatchcase(comm.data.decode().rstrip("\n"), pattern)
