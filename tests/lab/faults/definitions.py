"""Shell: a guest's stored definition altered by sed, and app1 started from an altered one."""

from __future__ import annotations

BACK = "virsh define /run/definition.was"
GONE = "rm /run/definition.was /run/definition.xml"
START = "virsh destroy app1; virsh start app1"
ANSWERS = "until ssh-keyscan -T 1 10.78.1.14 2>/dev/null | grep -q .; do sleep 0.1; done"


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


def started(*edits: str) -> str:
    """Start app1 from an altered definition, and then store the right one again: only what runs is wrong."""
    return f"{stored(*edits)}; {START}; {BACK}; {ANSWERS}"


SETTLED = current(360448)
STARTED_BACK = f"{BACK}; {START}; {ANSWERS}; {GONE}; {SETTLED}"
