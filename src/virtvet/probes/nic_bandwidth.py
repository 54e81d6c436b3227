"""How much traffic an interface may carry: in its XML, and in the kernel's queueing disciplines.

libvirt (src/util/virnetdevbandwidth.c) gives a tap an htb class for what comes to the guest and a policing filter for
what it sends; a macvtap has them swapped, since it is the guest's own end. A floor is a class of the network's bridge.
What is stated in the profile always means the guest's side.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lxml import etree

from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import domain_xml, interfaces
from virtvet.profile.nic_bandwidth import KIB, KILOBYTE
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import Command

UNLIMITED = "unlimited"

TC = Command(
    (
        "sh",
        "-c",
        'q=$(tc -d qdisc show) || exit; printf "%s\\n" "$q" | while read -r a kind handle b dev rest; do '
        'printf "%s\\n" "$a $kind $handle $b $dev $rest"; case $kind in '
        'htb) tc -d class show dev "$dev" && tc -d filter show dev "$dev" parent "$handle";; '
        'ingress|clsact) tc -d filter show dev "$dev" ingress;; *) true;; esac || echo "tc ended with $?"; done',
    )
)
"""Every queueing discipline of the host, and below each that can limit, its classes and filters. As text: `tc -j` of
iproute2 6.1 prints text for htb, and leaves rate and burst of a policing filter out. Rates are cut off to whole
kilo-, mega- or gigabits (see `shown`).

    qdisc htb 1: dev vnet0 root refcnt 2 r2q 10 default 0x1 direct_packets_stat 0 ver 3.17 direct_qlen 1000
    class htb 1:1 root leaf 2: prio 0 quantum 12500 rate 8Mbit ceil 16Mbit linklayer ethernet burst 512Kb/1 …
"""

_QDISC = re.compile(r"qdisc (\S{1,16}) ([0-9a-f]{1,4}:) dev (\S{1,15}) (.{0,500})", re.ASCII)
_POLICE = re.compile(r"\bpolice 0x[0-9a-f]+ ", re.ASCII)
_RATE = re.compile(r"(\d{1,15})([KMGT]?)bit", re.ASCII)
_SIZE = re.compile(r"(\d{1,12})([KM]?)b", re.ASCII)
_THOUSANDS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_KIBI = {"": 1, "K": 1024, "M": 1024**2}
HARMLESS = frozenset(
    "noqueue pfifo bfifo pfifo_fast pfifo_head_drop fq fq_codel codel sfq mq mqprio multiq prio ingress clsact".split()
)
"""Kinds that share out or wait, but set no rate."""


# --- the XML


def config(snapshot: Snapshot, guest: str, key: str, way: str, what: str) -> Reading:
    """`what` ("average", "peak", "burst", "floor") of one `way` ("inbound", "outbound"), in bytes (a second).

    `<inbound average='1000' peak='2000' burst='512'/>` -> 1000000, 2000000, 524288; no average: "unlimited".
    """
    return interfaces.stored(_told(way, what))(snapshot, guest, key)


def live(snapshot: Snapshot, guest: str, key: str, way: str, what: str) -> Reading:
    """As `config`, of the running domain; it holds what the interface has from its network, too."""
    return interfaces.running(_told(way, what))(snapshot, guest, key)


def _told(way: str, what: str) -> Callable[[etree._Element], int | str | None]:
    def told(element: etree._Element) -> int | str | None:
        found = element.find(f"bandwidth/{way}")
        number = int(found.get(what, "0")) if found is not None else 0
        return number * (KIB if what == "burst" else KILOBYTE) or (UNLIMITED if what == "average" else None)

    return told


# --- the kernel


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline and what was said of its classes and filters."""

    kind: str
    handle: str
    rest: str
    lines: tuple[str, ...]

    @property
    def root(self) -> bool:
        """What leaves the device passes it; else it is for what arrives."""
        return self.rest.startswith("root")


@dataclass(frozen=True, slots=True)
class Limit:
    """What limits one way through a device. Rates in bytes a second, as far as tc shows them."""

    average: int | str
    peak: int | None
    burst: int | None
    line: str


def shown(rate: int) -> int:
    """A rate in bytes a second as tc prints it and we read it back: whole gigabits above 1 Gbit/s, and so on.

    125001000 -> `1Gbit` -> 125000000 (print_rate, tc/tc_util.c).
    """
    bits, unit = rate * 8, 1
    while bits >= 1000 and not (bits % 1000 and bits < 1_000_000):
        bits, unit = bits // 1000, unit * 1000
    return bits * unit // 8


def actual(snapshot: Snapshot, guest: str, key: str, way: str, what: str) -> Reading:
    """The same in the kernel. Raises NotApplicable where libvirt limits otherwise (Open vSwitch) or not at all (the
    peak of what is policed)."""
    if what == "floor":
        return _floor(snapshot, guest, key)
    name, swapped = interfaces.end(snapshot, guest, key), False
    if guest not in snapshot.by_hand:
        element = interfaces.of_key(domain_xml.live(snapshot, guest), key)
        swapped = element is not None and element.get("type") == "direct"
        if element is not None and interfaces.open_vswitch(element):
            raise NotApplicable("Open vSwitch limits this interface itself, not the kernel's queueing disciplines")
    shaped = (way == "inbound") != swapped
    if not shaped and what == "peak":
        raise NotApplicable(f"libvirt passes no peak of {way} traffic to the kernel")
    limit = shaping(_of(snapshot, name)) if shaped else policing(_of(snapshot, name))
    return Reading(getattr(limit, what), f"tc -d class show dev {name}" if shaped else POLICE.format(name), limit.line)


POLICE = "tc -d filter show dev {} ingress"


def _of(snapshot: Snapshot, name: str) -> list[Qdisc]:
    """The disciplines of a device: it always has one (noqueue). Raises CannotLook when tc could not say."""
    found = [qdisc for device, qdisc in _all(snapshot) if device == name]
    if not found:
        raise CannotLook("tc -d qdisc show", f"shows no queueing discipline of {name}")
    if any(line.startswith("tc ended with") for qdisc in found for line in qdisc.lines):
        raise CannotLook(TC, f"tc could not tell the classes or filters of {name}")
    return found


def _all(snapshot: Snapshot) -> list[tuple[str, Qdisc]]:
    done = snapshot.read(TC)
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise CannotLook("tc -d qdisc show", f"ended with {done.returncode}: {said[:200]}")
    found: list[tuple[str, Qdisc]] = []
    for line in done.stdout.decode("utf-8", "backslashreplace").splitlines():
        if match := _QDISC.match(line):
            found.append((match[3], Qdisc(match[1], match[2], match[4], ())))
        elif found:
            device, last = found[-1]
            found[-1] = (device, Qdisc(last.kind, last.handle, last.rest, (*last.lines, line.strip())))
    return found


def shaping(qdiscs: list[Qdisc]) -> Limit:
    """The limit of what leaves a device: the class that htb gives it by default.

    `default 0x1`, `class htb 1:1 root leaf 2: prio 0 rate 8Mbit ceil 16Mbit linklayer ethernet burst 512Kb/1 …` ->
    1000000, 2000000, 524288. Of a kind that we do not know we only know that it is there.
    """
    root = next((one for one in qdiscs if one.root), None)
    if root is None or root.kind in HARMLESS:
        return Limit(UNLIMITED, None, None, f"qdisc {root.kind}" if root else "no qdisc for what leaves it")
    if root.kind != "htb":
        return Limit(f"a {root.kind} qdisc", None, None, f"qdisc {root.kind} {root.rest}"[:500])
    default = re.search(r"\bdefault (?:0x)?([0-9a-f]{1,8})\b", root.rest)
    line = _class(root, f"{root.handle}{default[1] if default else 0}")
    if line is None:
        return Limit(UNLIMITED, None, None, f"qdisc htb {root.rest}, whose default class does not exist"[:500])
    return Limit(_rate(line, "rate"), _rate(line, "ceil"), _size(line, "burst"), line)


def _class(qdisc: Qdisc, name: str) -> str | None:
    return next((line for line in qdisc.lines if line.startswith(f"class htb {name} ")), None)


def policing(qdiscs: list[Qdisc]) -> Limit:
    """The limit of what enters a device: the policing filter.

    `police 0x1 rate 4Mbit burst 500Kb mtu 64Kb action drop overhead 0b linklayer ethernet` -> 500000, 512000.
    """
    lines = [line for one in qdiscs if not one.root for line in one.lines if _POLICE.search(line)]
    if not lines:
        return Limit(UNLIMITED, None, None, "no policing filter")
    return min(
        (Limit(_rate(line, "rate"), None, _size(line, "burst"), line) for line in lines), key=lambda one: one.average
    )


def _rate(line: str, word: str) -> int:
    match = _RATE.fullmatch(_after(line, word)) or _unread(line, word)
    return int(match[1]) * _THOUSANDS[match[2]] // 8


def _size(line: str, word: str) -> int:
    match = _SIZE.fullmatch(_after(line, word).partition("/")[0]) or _unread(line, word)
    return int(match[1]) * _KIBI[match[2]]


def _after(line: str, word: str) -> str:
    found = re.search(rf" {word} (\S{{1,40}})", line)
    return found[1] if found else ""


def _unread(line: str, word: str) -> re.Match[str]:
    raise CannotLook("tc", f"the {word} was not understood: {line[:200]!r}")


# --- a floor: a class of the bridge


def _floor(snapshot: Snapshot, guest: str, key: str) -> Reading:
    """The rate of the class that a filter of the bridge gives to the interface's MAC address; None without one."""
    element = interfaces.of_key(domain_xml.live(snapshot, guest), key)
    bridge = None if element is None else interfaces.attribute(element, "source", "bridge")
    mac = None if element is None else interfaces.mac_of(element)
    if bridge is None or mac is None:
        raise NotApplicable("a floor is a class of the network's bridge, and there is none")
    root = next((one for one in _of(snapshot, bridge) if one.root and one.kind == "htb"), None)
    line = None if root is None else _class(root, flow(root.lines, mac) or "none")
    return Reading(
        _rate(line, "rate") if line else None, f"tc -d class show dev {bridge}", line or "no class of its own"
    )


def flow(lines: tuple[str, ...], mac: str) -> str | None:
    """The class that the filter for a MAC address leads to ("1:3"), by the words that u32 compares.

    virNetDevBandwidthManipulateFilter: `… fh 800::3 order 3 key ht 800 bkt 0 *flowid 1:3 not_in_hw`, then
    `match 00000800/0000ffff at -4`, `match 00770114/ffffffff at -12`, `match 00005254/0000ffff at -16`.
    """
    octets = mac.replace(":", "")
    wanted = {f"match 0000{octets[:4]}/0000ffff at -16", f"match {octets[4:]}/ffffffff at -12"}
    led, seen = None, set[str]()
    for line in lines:
        if found := re.search(r"\*?flowid ([0-9a-f]{1,4}:[0-9a-f]{1,4})", line):
            led, seen = found[1], set()
        seen.add(line)
        if led and wanted <= seen:
            return led
    return None
