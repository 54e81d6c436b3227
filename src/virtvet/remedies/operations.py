"""The few things that are ever done to a machine, as data: shown before, written to the journal, performed, taken back.

An operation that takes something back must be harmless when there is nothing to take back: after a crash nobody knows
how far the applying came.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import unified_diff
from hashlib import sha256
from time import monotonic, sleep
from typing import Annotated, Any, Literal, Protocol, cast

import libvirt
from lxml import etree
from pydantic import Field
from pydantic.dataclasses import dataclass

from virtvet.expect import ranges
from virtvet.probes import domain_xml
from virtvet.probes.hostdevs import of_address
from virtvet.probes.pins import own_pin
from virtvet.reporting.text import excerpt
from virtvet.snapshot.model import Completed

MAX_SHOWN = 100_000
"""Characters of one operation that are shown."""


class OperationFailed(Exception):
    """A machine refused or could not do what was asked: which operation, and in one line what the machine said."""

    def __init__(self, what: object, why: str) -> None:
        super().__init__(f"{what}: {'; '.join(printable(why).split(chr(10)))}")


class Hands(Protocol):
    """How operations reach machines: "hv1" is a host, "hv1/web1" a guest of it. Both raise Unreachable."""

    def run(self, machine: str, argv: Sequence[str], stdin: bytes = b"") -> Completed:
        """Run one command as root, every word of argv taken literally."""
        ...

    def libvirt(self, host: str) -> Any:
        """The host's open libvirt.virConnect."""
        ...


# --- commands


@dataclass(frozen=True)
class Given:
    """A condition: the path is there and, if `says` is not empty, has this text in it."""

    path: str
    says: str = ""

    def __str__(self) -> str:
        return f"if {self.path} says {self.says!r}" if self.says else f"if {self.path} is there"


GUARDED = '[ -e "$1" ] || exit 0; [ -z "$2" ] || grep -qF -e "$2" -- "$1" || exit 0; shift 2; exec "$@"'


@dataclass(frozen=True)
class Run:
    """A command; `given` makes it do nothing, successfully, where the condition does not hold."""

    machine: str
    argv: tuple[str, ...]
    stdin: str = ""
    given: Given | None = None
    kind: Literal["run"] = "run"

    def perform(self, hands: Hands) -> None:
        """Raises OperationFailed unless it exits 0."""
        argv = self.argv if self.given is None else _guarded(self.given, self.argv)
        _must(str(self), hands.run(self.machine, argv, self.stdin.encode()))

    def __str__(self) -> str:
        typed = f"{self.machine}$ {shlex.join(self.argv)}" + (f" <<< {shlex.quote(self.stdin)}" if self.stdin else "")
        return printable(typed + (f"   # {self.given}" if self.given else ""))


def _guarded(given: Given, argv: tuple[str, ...]) -> tuple[str, ...]:
    return ("sh", "-c", GUARDED, "sh", given.path, given.says, *argv)


def _must(what: str, done: Completed) -> Completed:
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[:2000].decode(errors="backslashreplace").strip()
        raise OperationFailed(what, said or f"ended with exit code {done.returncode}")
    return done


def printable(text: str) -> str:
    """What machines and people wrote, made visible: it must not steer the reader's terminal."""
    return excerpt(text, MAX_SHOWN)


# --- files


@dataclass(frozen=True)
class WriteFile:
    """Make a whole file `after`, if it is still `before`; None is no file. One that is `after` already is left alone.

    Meant for files that are ours: what is in them stands in the journal. `mode` (permission bits) is for a new file;
    an existing one keeps its owner and mode.
    """

    machine: str
    path: str
    before: str | None
    after: str | None
    mode: int = 0o644
    kind: Literal["write-file"] = "write-file"

    def back(self) -> WriteFile:
        """What takes it back."""
        return WriteFile(self.machine, self.path, self.after, self.before, self.mode)

    def perform(self, hands: Hands) -> None:
        """Raises OperationFailed when the file is neither `before` nor `after`, or cannot be written."""
        _replace(self, hands, _encoded(self.before), _encoded(self.after), self.mode)

    def __str__(self) -> str:
        before, after = ((text or "").splitlines() for text in (self.before, self.after))
        return _shown(self, list(unified_diff(before, after, lineterm=""))[2:])


@dataclass(frozen=True)
class EditLine:
    """Replace one whole line of somebody else's file; `before` None appends, `after` None removes. The rest of the file
    is neither kept in the journal nor changed: taking it back spares what others wrote in the meantime."""

    machine: str
    path: str
    before: str | None
    after: str | None
    kind: Literal["edit-line"] = "edit-line"

    def back(self) -> EditLine:
        """What takes it back."""
        return EditLine(self.machine, self.path, self.after, self.before)

    def perform(self, hands: Hands) -> None:
        """Raises OperationFailed when the file is missing, has neither line, or changes while it is edited."""
        found = _must(_name(self), hands.run(self.machine, ("cat", "--", self.path))).stdout
        if (edited := edit(found, _encoded(self.before), _encoded(self.after))) is None:
            raise OperationFailed(_name(self), OTHERWISE)
        _replace(self, hands, found, edited)

    def __str__(self) -> str:
        changed = (("-", self.before), ("+", self.after))
        return _shown(self, [sign + line for sign, line in changed if line is not None])


def _shown(file: WriteFile | EditLine, changed: Sequence[str]) -> str:
    return printable("\n".join([f"--- {_name(file)}", f"+++ {_name(file)}", *changed]))


def _name(file: WriteFile | EditLine) -> str:
    return f"{file.machine}:{file.path}"


def edit(text: bytes, before: bytes | None, after: bytes | None) -> bytes | None:
    """`text` with its last line `before` made `after`; None when it has neither. Exactly reversible: a file without a
    newline at its end stays without. edit(b"a\\nb\\n", None, b"c") -> b"a\\nb\\nc\\n"."""
    lines = text.split(b"\n")
    if before is not None and before in lines:
        place = len(lines) - 1 - lines[::-1].index(before)
        lines[place : place + 1] = [] if after is None else [after]
    elif after is None or after in lines:
        return text
    elif before is None:
        lines.insert(len(lines) - (lines[-1] == b""), after)
    else:
        return None
    return b"\n".join(lines)


OTHERWISE = "has changed since it was looked at, and is left alone"
ABSENT = "absent"
CHANGED = 3
REPLACE = f"""\
set -eu
path=$(readlink -f -- "$1")
now={ABSENT}
[ ! -e "$path" ] || now=$(sha256sum < "$path")
now=${{now%% *}}
[ "$now" != "$3" ] || exit 0
[ "$now" = "$2" ] || exit {CHANGED}
if [ "$3" = {ABSENT} ]; then rm -f -- "$path"; sync "${{path%/*}}/" 2>/dev/null || sync; exit; fi
temp=$(mktemp "$path.virtvet.XXXXXX")
trap 'rm -f -- "$temp"' EXIT
if [ -e "$path" ]; then cp -a -- "$path" "$temp"; else chmod "$4" "$temp"; fi
dd of="$temp" conv=fsync 2>/dev/null
came=$(sha256sum < "$temp")
[ "${{came%% *}}" = "$3" ] || {{ echo "the new content arrived cut short" >&2; exit 4; }}
mv -f -- "$temp" "$path"
sync "${{path%/*}}/" 2>/dev/null || sync
"""
"""Compare and swap in POSIX sh with what busybox has. $1 path, $2 and $3 SHA-256 before and after, $4 mode if new."""


def _replace(
    file: WriteFile | EditLine, hands: Hands, before: bytes | None, after: bytes | None, mode: int = 0o644
) -> None:
    argv = ("sh", "-c", REPLACE, "sh", file.path, _digest(before), _digest(after), f"{mode:o}")
    done = hands.run(file.machine, argv, after or b"")
    if done.returncode == CHANGED:
        raise OperationFailed(_name(file), OTHERWISE)
    _must(_name(file), done)


def _digest(content: bytes | None) -> str:
    return ABSENT if content is None else sha256(content).hexdigest()


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


# --- libvirt


@contextmanager
def _asking_libvirt(operation: object) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as refused:
        if refused.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise OperationFailed(operation, str(refused)) from None


@dataclass(frozen=True)
class Pin:
    """Pin the threads of one role ("vcpu0", "emulator", "iothread1"). `run` is the domain's id while it runs, None for
    its configuration. Does nothing when the guest has been started anew since (another id) or is gone: then there is
    nothing left to mend or to take back."""

    host: str
    guest: str
    uuid: str
    role: str
    cpus: tuple[int, ...]
    run: int | None
    kind: Literal["pin"] = "pin"

    def perform(self, hands: Hands) -> None:
        """virDomainPinVcpuFlags and its like. Raises OperationFailed with libvirt's words."""
        with _asking_libvirt(self):
            domain = hands.libvirt(self.host).lookupByUUIDString(self.uuid)
            if self.run is None or domain.ID() == self.run:
                self._pin(domain)

    def _pin(self, domain: Any) -> None:
        cpumap = tuple(cpu in self.cpus for cpu in range(max(self.cpus) + 1))
        layer = libvirt.VIR_DOMAIN_AFFECT_CONFIG if self.run is None else libvirt.VIR_DOMAIN_AFFECT_LIVE
        kind, number = _split(self.role)
        if kind == "vcpu":
            domain.pinVcpuFlags(int(number), cpumap, layer)
        elif kind == "iothread":
            domain.pinIOThread(int(number), cpumap, layer)
        else:
            domain.pinEmulator(cpumap, layer)

    def __str__(self) -> str:
        kind, number = _split(self.role)
        words = [f"{kind}pin", self.guest, *filter(None, [number]), ranges(self.cpus)]
        return printable(f"{self.host}$ virsh {shlex.join(words)} {'--config' if self.run is None else '--live'}")


def _split(role: str) -> tuple[str, str]:
    """ "vcpu0" -> ("vcpu", "0"); "emulator" -> ("emulator", "")."""
    kind = role.rstrip("0123456789")
    return kind, role[len(kind) :]


@dataclass(frozen=True)
class Unpin:
    """Take the pin of one role out of a domain's configuration. libvirt has no call for it, so the configuration is
    defined anew without it; its secrets go from libvirt to libvirt only."""

    host: str
    guest: str
    uuid: str
    role: str
    kind: Literal["unpin"] = "unpin"

    def perform(self, hands: Hands) -> None:
        """virDomainDefineXML. Raises OperationFailed with libvirt's words."""
        with _asking_libvirt(self):
            connection = hands.libvirt(self.host)
            domain = connection.lookupByUUIDString(self.uuid)
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
            if (without := without_pin(xml, self.role)) is not None:
                connection.defineXML(without)

    def __str__(self) -> str:
        return printable(f"{self.host}$ virsh edit {shlex.quote(self.guest)}   # without the pin of {self.role}")


def without_pin(xml: str, role: str) -> str | None:
    """The domain XML without the pin of a role; None when it has none."""
    root = domain_xml.parse(xml, "virsh dumpxml --inactive")
    if (pin := own_pin(root, role)) is None:
        return None
    cast(etree._Element, pin.getparent()).remove(pin)
    return etree.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class Throttle:
    """Limit one disk: libvirt's block I/O parameters by name ("read_bytes_sec"), all of them, since libvirt takes some
    that it is not told for 0 and others for unchanged. `run` as with Pin."""

    host: str
    guest: str
    uuid: str
    disk: str
    limits: tuple[tuple[str, int], ...]
    run: int | None
    kind: Literal["throttle"] = "throttle"

    def perform(self, hands: Hands) -> None:
        """virDomainSetBlockIoTune. Raises OperationFailed with libvirt's words."""
        with _asking_libvirt(self):
            domain = hands.libvirt(self.host).lookupByUUIDString(self.uuid)
            if self.run is None:
                domain.setBlockIoTune(self.disk, dict(self.limits), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            elif domain.ID() == self.run:
                domain.setBlockIoTune(self.disk, dict(self.limits), libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def __str__(self) -> str:
        told = [word for name, value in self.limits if value for word in (f"--{name.replace('_', '-')}", str(value))]
        words = shlex.join(["blkdeviotune", self.guest, self.disk, *told])
        layer = "--config" if self.run is None else "--live"
        return printable(f"{self.host}$ virsh {words} {layer}   # and no other limit")


@dataclass(frozen=True)
class Assign:
    """Give a PCI device of the host to a domain's configuration, or take it out: `xml` is its `<hostdev>`. Does nothing
    where it is `there` already, or not there."""

    host: str
    guest: str
    uuid: str
    address: str
    xml: str
    there: bool
    kind: Literal["assign"] = "assign"

    def perform(self, hands: Hands) -> None:
        """virDomainAttachDeviceFlags and its reverse. Raises OperationFailed with libvirt's words."""
        with _asking_libvirt(self):
            domain = hands.libvirt(self.host).lookupByUUIDString(self.uuid)
            stored = domain_xml.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), "virsh dumpxml --inactive")
            if (of_address(stored, self.address) is not None) != self.there:
                change = domain.attachDeviceFlags if self.there else domain.detachDeviceFlags
                change(self.xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def __str__(self) -> str:
        verb = "attach" if self.there else "detach"
        words = shlex.join(["virsh", f"{verb}-device", self.guest, "/dev/stdin", "--config"])
        return printable(f"{self.host}$ {words} <<< {shlex.quote(self.xml)}")


@dataclass(frozen=True)
class Balloon:
    """Leave a running guest so much memory, and wait until its balloon is there, `WAITS` seconds at most: whoever looks
    then sees how far it came. `run` as with Pin."""

    host: str
    guest: str
    uuid: str
    kib: int
    run: int
    kind: Literal["balloon"] = "balloon"

    def perform(self, hands: Hands) -> None:
        """virDomainSetMemoryFlags; virDomainGetInfo follows QEMU's BALLOON_CHANGE. Raises OperationFailed."""
        with _asking_libvirt(self):
            domain = hands.libvirt(self.host).lookupByUUIDString(self.uuid)
            if domain.ID() != self.run:
                return
            domain.setMemoryFlags(self.kib, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            end = monotonic() + WAITS
            while domain.info()[2] != self.kib and monotonic() < end:
                sleep(0.1)

    def __str__(self) -> str:
        words = shlex.join(["setmem", self.guest, f"{self.kib}KiB", "--live"])
        return printable(f"{self.host}$ virsh {words}   # and wait for its balloon")


WAITS = 10
"""Seconds. A balloon takes some 0.1 s a GiB, and QEMU tells where it is once a second."""
Operation = Annotated[
    Run | WriteFile | EditLine | Pin | Unpin | Throttle | Assign | Balloon, Field(discriminator="kind")
]
