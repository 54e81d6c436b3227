"""The QEMU processes of a host: which guest each runs, and the arguments it was started with.

Arguments are what QEMU was told once, at its start; what may have changed since is asked by `qmp`. They are found for
guests of libvirt and for those that somebody started by hand, and of both only what is listed here is taken: others may
carry secrets (`-object secret,data=…`, `-drive file=rbd:…:key=…`, `-vnc …,password=…`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from virtvet.errors import CannotLook, NotApplicable
from virtvet.snapshot.model import Answer, Completed, Content, Snapshot, text_of
from virtvet.snapshot.sources import Command, Glob, Source

STATE = "/run/libvirt/qemu"
PIDS = Glob(f"{STATE}/*.pid")
"""Of libvirt's guests: `/run/libvirt/qemu/web1.pid` holds `4711`, without a newline."""

OPTIONS = ("name", "cpu", "smp", "m", "numa", "machine", "M", "accel", "overcommit", "fsdev", "virtfs", "uuid")
"""Options taken with whatever follows them."""
DEVICES = "virtio-|vhost-|pc-dimm|nvdimm|e1000|rtl8139|igb|vfio-|intel-iommu|scsi-|ide-|nvme|usb-storage"
OBJECTS = "memory-backend-|iothread|thread-context"
STORAGE = "file|host_device|raw|qcow2|rbd|nbd|nvme|iscsi|throttle|copy-on-read"
_VALUES = (
    rf'\{{"driver":"({DEVICES}|{STORAGE})|\{{"node-name":"|({DEVICES})[a-z0-9-]*(,|$)|'
    rf'\{{"qom-type":"({OBJECTS})|({OBJECTS})[a-z-]*,|\{{"type":"tap"|(tap|bridge|user),|(file|if|id)=[^:]*$'
)
"""What the values of -device, -object, -blockdev, -netdev and -drive that are taken begin with."""
_SECRETS = (
    r'pass(word|wd|phrase)"?[=:]|[,:{]"?key"?[=:]|[,{]"?data"?[=:]|cookie"?[=:]|://[^/,"]*@|'
    r'(^|=)secret(,|$)|"qom-type":"secret'
)
"""What is not taken, whatever it begins with."""
ARGUMENTS = Command(
    (
        "sh",
        "-c",
        # GNU grep: records end with NUL; -A1 takes the value after an option; `path:` or `path-` stands before each
        "for d in /proc/[0-9]*; do c=; { read -r c <$d/comm; } 2>/dev/null; case $c in qemu-system-*|qemu-kvm) "
        '[ ! -r $d/cmdline ] || set -- "$@" $d/cmdline;; esac; done; [ $# -eq 0 ] || '
        f"grep -zaH -A1 --no-group-separator -E '^--?({'|'.join(OPTIONS)})$|^({_VALUES})' -- \"$@\" | "
        f"grep -zavE '{_SECRETS}'",
    )
)
"""Answer: `/proc/4711/cmdline:-name`, `/proc/4711/cmdline-guest=web1,debug-threads=on` and so on, each ended by NUL."""
SOURCES = (PIDS, ARGUMENTS)

_RECORD = re.compile(r"/proc/(\d{1,10})/cmdline[:-](.*)", re.DOTALL)
NAME = re.compile(r"[^/\x00-\x1f]{1,255}")
"""What libvirt takes for a domain's name, and we for the name of one started by hand."""


@dataclass(frozen=True, slots=True)
class Process:
    """A QEMU process: what was taken of its arguments, in their order."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def source(self) -> str:
        """Where they were read."""
        return f"/proc/{self.pid}/cmdline"

    def option(self, *names: str) -> str | None:
        """The last value of an option by any of its names; None without. `-M q35` -> option("machine", "M") "q35"."""
        return next(reversed(self.options(*names)), None)

    def options(self, *names: str) -> list[str]:
        """All values of an option that may be given several times. `-numa node,nodeid=0 -numa node,nodeid=1`."""
        flags = {f"{dashes}{name}" for name in names for dashes in ("-", "--")}
        return [value for flag, value in pairwise(self.arguments) if flag in flags]

    @property
    def name(self) -> str | None:
        """The guest's: `-name guest=web1,debug-threads=on` or `-name web1`."""
        written = keywords(self.option("name") or "")
        bare = next((key for key, value in written.items() if not value), None)
        found = written.get("guest", bare)
        return found if found and NAME.fullmatch(found) else None

    def parts(self) -> Iterator[dict[str, Any]]:
        """Values of -device, -object, -netdev, -blockdev and -drive, each as a mapping.

        QEMU ≥ 6.2 is given JSON by libvirt: `{"driver":"pc-dimm","id":"dimm0"}`; else `pc-dimm,id=dimm0`, of which the
        leading word becomes "driver". Raises CannotLook for JSON that is none.
        """
        for argument in self.arguments:
            if argument.startswith("{"):
                yield _json(argument, self.source)
            elif re.match(_VALUES, argument):
                head, _, rest = argument.partition(",")
                yield {"driver": head, **keywords(rest)} if "=" not in head else keywords(argument)


def _json(argument: str, source: str) -> dict[str, Any]:
    try:
        parsed = json.loads(argument)
    except (ValueError, RecursionError) as mistake:
        raise CannotLook(source, f"an argument of QEMU is not JSON: {mistake}") from None
    return parsed if isinstance(parsed, dict) else {}


def keywords(argument: str) -> dict[str, str]:
    """QEMU's `key=value` lists, where a comma in a value is doubled.

    `local,security_model=mapped,id=fsdev-fs0,path=/srv/a,,b` -> {"local": "", "security_model": "mapped", …,
    "path": "/srv/a,b"}
    """
    parts = (part.replace("\0", ",") for part in argument.replace(",,", "\0").split(","))
    return dict(part.partition("=")[::2] for part in parts)


def of_guest(snapshot: Snapshot, guest: str) -> Process:
    """The process that runs a guest. Raises NotApplicable when it is shut off, CannotLook when no process that we may
    read bears its name."""
    known, number = _processes(snapshot.read(ARGUMENTS).stdout), pid(snapshot, guest)
    if number not in known:
        raise CannotLook(f"/proc/{number}/cmdline", f"there is no QEMU process {number} that we may read")
    if known[number].name != guest:
        raise CannotLook(f"{STATE}/{guest}.pid", f"names process {number}, which is not {guest}'s")
    return known[number]


def processes(snapshot: Snapshot) -> Mapping[int, Process]:
    """Every QEMU process of the host that runs a machine, whoever started it, by its id. Raises CannotLook.

    libvirt starts one for a moment, with `-machine none`, to learn what QEMU can do.
    """
    found = _processes(snapshot.read(ARGUMENTS).stdout)
    return {number: one for number, one in found.items() if not (one.option("machine", "M") or "").startswith("none")}


def pid(snapshot: Snapshot, guest: str) -> int:
    """The QEMU process of a running guest, by libvirt's pid file or, without libvirt, by its `-name`.

    /run/libvirt/qemu/web1.pid: `4711` (no newline) -> 4711. Raises NotApplicable when it is shut off, CannotLook.
    """
    if guest in snapshot.by_hand:
        return snapshot.by_hand[guest]
    if snapshot.domain(guest).live_xml is None:
        raise NotApplicable("guest is shut off")
    path = f"{STATE}/{guest}.pid"
    files = snapshot.read(PIDS)
    if path not in files:
        raise CannotLook(path, "does not exist")
    return _number(path, text_of(path, files[path]))


def _number(path: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text.strip(), re.ASCII):
        raise CannotLook(path, f"holds no process id: {text[:40]!r}")
    return int(text)


def started_by_hand(answers: Mapping[Source, Answer]) -> Mapping[str, int]:
    """Guests that run without libvirt, by name: QEMU processes that none of libvirt's pid files names.

    Nothing where nobody looked for them. Of two with one name the older (smaller id) counts.
    """
    found, files = answers.get(ARGUMENTS), answers.get(PIDS)
    if not isinstance(found, Completed) or not isinstance(files, Mapping):
        return {}
    kept = {content.data.strip() for content in files.values() if isinstance(content, Content)}
    strangers = [one for one in _processes(found.stdout).values() if str(one.pid).encode() not in kept]
    return {one.name: one.pid for one in sorted(strangers, key=lambda one: -one.pid) if one.name}


@lru_cache(maxsize=64)
def _processes(said: bytes) -> Mapping[int, Process]:
    found: dict[int, list[str]] = {}
    for record in said.decode("utf-8", "backslashreplace").split("\0"):
        if match := _RECORD.fullmatch(record):
            found.setdefault(int(match[1]), []).append(match[2])
    return {number: Process(number, tuple(arguments)) for number, arguments in found.items()}
