"""Shell: a guest's stored definition altered by sed, and a guest started from an altered one."""

from __future__ import annotations

from lab.spec import HOSTS

BACK = "virsh define /run/definition.was"
GONE = "rm /run/definition.was /run/definition.xml"
ADDRESSES = {guest.name: guest.address for host in HOSTS for guest in host.guests}


def start(guest: str) -> str:
    """Anew, from what is stored; it answers afterwards.

    Under TCG one boot of several vCPUs in a dozen hangs (the kernel patches itself while the others run): then again.
    """
    soon = f"timeout 25 sh -c '{answers(guest)}'"
    again = f"virsh destroy {guest} || true; virsh start {guest}; {soon} && break"
    return f"for try in 1 2 3; do {again}; done; {answers(guest)}"


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
    return f"{stored(*edits, guest=guest)}; {start(guest)}; {BACK}"


def started_back(guest: str) -> str:
    """Undo `started`."""
    return f"{BACK}; {start(guest)}; {GONE}"


SETTLED = current(360448)
STARTED_BACK = f"{started_back('app1')}; {SETTLED}"
"""Of app1."""
