"""Recorded looks as text: nothing is lost, whatever a machine says; and what is committed is what can be recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests import recorded_text
from tests.looks import PROBES, RECORDINGS, look
from tests.record import cut
from tests.recorded_text import TAKEN, parts, read, written
from virtvet.probes import qemu
from virtvet.snapshot.model import (
    Absent,
    Answer,
    Completed,
    Content,
    Domain,
    Failed,
    LibvirtAnswer,
    Snapshot,
    Status,
    TooLarge,
    Unreadable,
)
from virtvet.snapshot.sources import Command, File, Glob, Handshake, Libvirt, Processes, Qmp, Source, Stat, Tree

LIVE, CONFIG = "<domain id='1'>\n  <uuid>7f3c</uuid>\n</domain>\n", "<domain>\n  <uuid>7f3c</uuid>\n</domain>"
DOMAINS = {
    "on": Domain("on", "7f3c", "running", False, LIVE, None),
    "off": Domain("off", "7f3c", "shut off", True, None, CONFIG),
}
LIBVIRT = LibvirtAnswer("qemu:///system", "hv1", 9000000, 7002000, "<capabilities/>\n", DOMAINS)
HOSTILE = (
    *(
        b"",
        b"\n",
        b"\n\n",
        b"no end",
        b"a\0b\0",
        b"a\0b",
        b"a\0b\n",
        b"\0",
        b"\xff\xfe",
        b"\x1b[31mred",
        b"a\r\n",
        b"tab\t\n",
    ),
    *(
        b"===== /etc/shadow\nx\n",
        b"x\n===== a (absent)",
        b"\\ no newline at the end\n",
        b"x\n\\ no newline at the end\n",
    ),
    *("é\n".encode(), "a\u2028b\x85c\n".encode(), "\u202e\n".encode(), b"=====", b"===== ", b"a\0===== x\0"),
)


def again(snapshot: Snapshot) -> Snapshot:
    """Written and read back."""
    said = {what: one.answer() for what, one in read("For people.\n\n" + written(parts(snapshot))).items()}
    inside = {name: list(guest.answers) for name, guest in snapshot.guests.items()}
    return recorded_text.snapshot(snapshot.machine, said, snapshot.answers, inside)


def of(answers: dict[Source, Answer], guests: dict[str, Snapshot] | None = None) -> Snapshot:
    return Snapshot("hv1", TAKEN, answers, guests or {})


@pytest.mark.parametrize("data", HOSTILE)
def test_whatever_is_in_a_file_is_read_back(data: bytes) -> None:
    last: dict[Source, Answer] = {File("/a"): Content(data), File("/b"): Content(b"b")}
    first = dict(reversed(last.items()))
    for answers in (last, first):
        assert again(of(answers)) == of(answers)
    assert "\x1b" not in written(parts(of(last)))


ANSWERS: tuple[tuple[Source, Answer], ...] = (
    *((File("/a"), answer) for answer in (Absent(), Unreadable("Invalid argument"), TooLarge(4096))),
    (File("/a (absent)"), Content(b"x\n")),
    (Stat("/run/x"), Status("regular empty file", 0o4755, "root", "kvm", 0, 107, 12)),
    (Stat("/run/x"), Absent()),
    (Command(("getconf", "PAGESIZE")), Completed(0, b"4096\n", b"")),
    (Command(("stat", "/x")), Completed(1, b"", b"stat: no such\nfile\n")),
    (Command(("stat", "/x")), Unreadable("did not end within 5 s")),
    (qemu.ARGUMENTS, Completed(0, b"/proc/1/cmdline:-name\0/proc/1/cmdline-a\0", b"")),
    (Glob("/sys/*/mtu"), {"/sys/a10/mtu": Content(b"1\n"), "/sys/a9/mtu": Unreadable("Invalid argument")}),
    (Glob("/sys/*/mtu"), {}),
    (Glob("/sys/*/mtu"), Unreadable("Permission denied")),
    (Tree("/sys/fs", ("cpu.max",), "*machine*"), {"/sys/fs/machine/a b/cpu.max": Content(b"max\n")}),
    (Tree("/sys/fs", ("cpu.max",)), Absent()),
    (
        Processes("qemu-*", ("comm",), ("stat",)),
        {"/proc/7/comm": Content(b"qemu-kvm\n"), "/proc/7/task/8/stat": Content(b"8 (x) S\n")},
    ),
    (Libvirt(), LIBVIRT),
    (Libvirt(), Failed("no route")),
    (Qmp("on", "qom-get", (("path", "/machine"), ("property", "type"))), Content(b'"pc"')),
    (Qmp("on", "query-balloon"), Failed("the inventory says libvirt: {monitor: false}")),
    (Qmp("off", "query-balloon"), Absent()),
)


@pytest.mark.parametrize(("source", "answer"), ANSWERS)
def test_each_kind_of_answer_is_read_back(source: Source, answer: Answer) -> None:
    if source == File("/a (absent)"):
        with pytest.raises(ValueError, match="looks like the text's own marks"):
            again(of({source: answer}))
    else:
        assert replace(again(of({source: answer})), by_hand={}) == of({source: answer})


def test_guests_are_read_back() -> None:
    inside: dict[Source, Answer] = {
        File("/proc/uptime"): Content(b"1\n"),
        Glob("/sys/*/mtu"): {"/sys/a/mtu": Content(b"2\n")},
    }
    snapshot = of({File("/proc/uptime"): Content(b"9\n")}, {"web1": Snapshot("hv1/web1", TAKEN, inside)})
    assert again(snapshot) == snapshot


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (of({Handshake(): Failed("x")}), "as text"),
        (of({Command(("sh", "-c", "x\ny")): Completed(0, b"", b"")}), "needs a name"),
        (of({File("/a\nb"): Content(b"")}), "own marks"),
        (of({File("/a"): Unreadable("two\nlines")}), "own marks"),
        (of({File("/a"): Content(b"1"), Glob("/*"): {"/a": Content(b"2")}}), "two answers"),
        (of({Libvirt(): replace(LIBVIRT, domains={"on": replace(DOMAINS["on"], state="paused")})}), "more to it"),
        (replace(of({}), unreachable="no route"), "no route"),
    ],
)
def test_what_cannot_be_text_is_refused(snapshot: Snapshot, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        written(parts(snapshot))


def test_one_thing_said_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        read("===== /a\nx\n===== /a\ny\n")


def test_a_process_of_another_name_is_not_among_them() -> None:
    found = {"/proc/7/comm": Content(b"sshd\n"), "/proc/7/task/8/stat": Content(b"8 (x) S\n")}
    source = Processes("qemu-*", ("comm",), ("stat",))
    assert recorded_text.snapshot("hv1", found, [source], {}).answers == {source: {}}


def test_xml_is_cut_to_what_a_concern_needs() -> None:
    xml = """<domain type='kvm'>
  <name>a</name>
  <vcpu>2</vcpu>
  <cpu mode='custom'>
    <disk>no device</disk>
  </cpu>
  <devices>
    <emulator>/bin/qemu</emulator>
    <disk type='file'>
      <target dev='vda'/>
    </disk>
    <input type='mouse'/>
  </devices>
  <seclabel/>
</domain>
"""
    disk = "    <disk type='file'>\n      <target dev='vda'/>\n    </disk>\n"
    assert cut(xml, ("disk",)) == f"<domain type='kvm'>\n  <name>a</name>\n  <devices>\n{disk}  </devices>\n</domain>\n"
    assert cut(xml, ()) == xml


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_committed_is_as_it_is_recorded(name: str) -> None:
    """Every answer in the text is one of the sources', and the other way round."""
    text = (PROBES / f"{name}.txt").read_text()
    said, seen = read(text), parts(look(name))
    assert seen == said
    if RECORDINGS[name].in_lab:
        assert text.endswith(f"\n\n{written(seen)}")


def test_every_recorded_text_is_listed() -> None:
    found = {str(path.relative_to(PROBES).with_suffix("")) for path in PROBES.glob("*/*.txt")}
    assert found == set(RECORDINGS)
