"""What the kernel says of its CPUs' vulnerabilities and of their threads
(Documentation/ABI/testing/sysfs-devices-system-cpu).

/sys/devices/system/cpu/vulnerabilities/mds          Mitigation: Clear CPU buffers; SMT vulnerable
/sys/devices/system/cpu/smt/control                  on
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.snapshot.model import Snapshot, text_of
from virtvet.snapshot.sources import File, Glob

FOLDER = "/sys/devices/system/cpu/vulnerabilities"
ALL = Glob(f"{FOLDER}/*")
REST = "*"
SMT = File("/sys/devices/system/cpu/smt/control")

State = Literal["not affected", "mitigated", "partly mitigated", "vulnerable", "unknown"]
_SMT = {"on": "on", "off": "off", "forceoff": "off", "notsupported": "off", "notimplemented": "off"}


def state(said: str, source: str) -> State:
    """One file's text (arch/x86/kernel/cpu/bugs.c). Raises CannotLook.

    `Not affected`; `Mitigation: PTI`; `Mitigation: Clear CPU buffers; SMT vulnerable` is partly mitigated;
    `Vulnerable`, `Vulnerable: No microcode`, `Processor vulnerable`; `KVM: Mitigation: Split huge pages`;
    `Unknown: No mitigations`.
    """
    text = said.strip().lower().removeprefix("kvm: ")
    if text == "not affected":
        return "not affected"
    if text.startswith("mitigation"):
        return "partly mitigated" if "vulnerable" in text or "unknown" in text else "mitigated"
    if text.startswith(("vulnerable", "processor vulnerable")):
        return "vulnerable"
    if text.startswith("unknown"):
        return "unknown"
    raise CannotLook(source, f"said nothing we understand: {said.strip()[:100]!r}")


def actual(snapshot: Snapshot, name: str, named: frozenset[str]) -> Iterator[Reading]:
    """The state of one; of `*`, of each that is not named. Raises CannotLook where this kernel does not know it."""
    found = _found(snapshot)
    if name != REST and name not in found:
        raise CannotLook(f"{FOLDER}/{name}", "this kernel says nothing of it")
    for one, text in found.items():
        if one == name or (name == REST and one not in named):
            yield Reading(state(text, f"{FOLDER}/{one}"), f"{FOLDER}/{one}", text.strip()[:300])


def _found(snapshot: Snapshot) -> dict[str, str]:
    if not (files := snapshot.read(ALL)):
        raise CannotLook(FOLDER, "this kernel says nothing of its CPUs' vulnerabilities")
    return {path.rpartition("/")[2]: text_of(path, files[path]) for path in sorted(files)}


def smt(snapshot: Snapshot) -> Reading:
    """ "on" or "off": `forceoff` and `notsupported` are off, too. Raises CannotLook."""
    word = snapshot.read(SMT).decode("ascii", "backslashreplace").strip()
    if word not in _SMT:
        raise CannotLook(SMT, f"said nothing we understand: {word[:40]!r}")
    return Reading(_SMT[word], str(SMT), word)
