"""Record the look that the sample run and offline tests are made from: `python -m tests.record`, with the lab up.

A few faults are in the hosts while they are looked at, so that the sample shows what failures look like. What is
recorded is text: read the difference before you commit it.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from lab import Lab
from tests.lab.faults import cgroups, shares, tls
from virtvet import catalogue
from virtvet.inventory import load_inventory
from virtvet.refresh import RECORDED, TOP, main
from virtvet.session import Selection, Session, profiles_of
from virtvet.snapshot.connections import Connections
from virtvet.snapshot.store import save

FAULTS = ("taskset moves a vCPU thread", "server key readable by all", "the share is not mounted")


def record() -> None:
    """Break, look, restore, save."""
    lab = Lab.attach()
    inventory = load_inventory(lab.inventory)
    known = {fault.name: fault for fault in (*tls.FAULTS, *cgroups.FAULTS, *shares.FAULTS)}
    with tls.prepared(lab), ExitStack() as restore, Connections() as connections:
        for name in FAULTS:
            fault = known[name]
            machine = lab.guests[fault.on] if "/" in fault.on else lab.hosts[fault.on]
            restore.callback(partial(machine.sh, fault.restores))
            machine.sh(fault.breaks)
        session = Session(inventory, profiles_of(inventory, "lab"), catalogue.shipped(), Selection(), connections)
        session.look(lambda _host, _what: None, deadline=30)
        save(session.snapshots, RECORDED)
    # where this checkout stands shows in the hosts' mount tables, and is nobody's business
    RECORDED.write_text(RECORDED.read_text().replace(str(TOP), "/checkout"))


if __name__ == "__main__":
    record()
    main()
