"""Shell: a guest's stored definition altered by sed, and a guest started from an altered one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import Lab
from lab.spec import HOSTS

BACK = "virsh define /run/definition.was"
GONE = "rm /run/definition.was /run/definition.xml"
GUESTS = [guest for host in HOSTS for guest in host.guests]
ADDRESSES = {guest.name: guest.address for guest in GUESTS}
SAVED = {guest.name: f"/run/{guest.name}.saved" for guest in GUESTS if not guest.share}


def start(guest: str) -> str:
    """Anew, from what is stored; it answers afterwards.

    Under TCG one boot of several vCPUs in a dozen hangs (the kernel patches itself while the others run): then again.
    """
    soon = f"timeout 25 sh -c '{answers(guest)}'"
    again = f"virsh destroy {guest} || true; virsh start {guest}; {soon} && break"
    return f"for try in 1 2 3; do {again}; done; {answers(guest)}"


def kept(guest: str) -> str:
    """A running guest as it is, in a file to go on from: that is quicker than a boot. Once is enough: every fault
    leaves it as it was. QEMU saves no guest that has mounted a share."""
    if guest not in SAVED:
        return ":"
    image = SAVED[guest]
    return f"[ -e {image} ] || {{ virsh save {guest} {image}; virsh restore {image}; }}"


def back(guest: str) -> str:
    """Have a guest go on as it was `kept`; it answers afterwards."""
    if guest not in SAVED:
        return start(guest)
    return f"virsh destroy {guest}; virsh restore {SAVED[guest]}; {answers(guest)}"


@contextmanager
def remembered(lab: Lab) -> Iterator[None]:
    """What is `kept` is so for this while only."""
    forget = f"rm -f {' '.join(SAVED.values())}"
    for host in lab.hosts.values():
        host.sh(forget)
    try:
        yield
    finally:
        for host in lab.hosts.values():
            host.sh(forget)


def answers(guest: str) -> str:
    """Wait until it does."""
    return f"until ssh-keyscan -T 1 {ADDRESSES[guest]} 2>/dev/null | grep -q .; do sleep 0.1; done"


def current(kib: int) -> str:
    """Wait until app1's balloon is there: the guest takes its time."""
    seen = f"virsh dumpxml app1 | grep -q \"<currentMemory unit='KiB'>{kib}<\""
    return f"for i in $(seq 100); do {seen} && break; sleep 0.1; done; {seen}"


def stored(*edits: str, guest: str = "app1") -> str:
    """Change the stored definition alone."""
    edit = "".join(f' -e "{one}"' for one in edits)
    dump = f"virsh dumpxml --inactive {guest} >/run/definition.was"
    return f"{dump}; sed{edit} /run/definition.was >/run/definition.xml; virsh define /run/definition.xml"


STORED_BACK = f"{BACK}; {GONE}"


def started(*edits: str, guest: str = "app1") -> str:
    """Start a guest from an altered definition, and then store the right one again: only what runs is wrong."""
    return f"{kept(guest)}; {stored(*edits, guest=guest)}; {start(guest)}; {BACK}"


def started_back(guest: str) -> str:
    """Undo `started`."""
    return f"{BACK}; {back(guest)}; {GONE}"


SETTLED = current(360448)
STARTED_BACK = f"{started_back('app1')}; {SETTLED}"
"""Of app1."""
