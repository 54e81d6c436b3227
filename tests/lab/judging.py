"""Look at lab hosts and judge every shipped check, in this process: what departs, as data to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

from lab import Lab
from virtvet import catalogue
from virtvet.inventory import Inventory, load_inventory
from virtvet.judge import Observed, Outcome, judge
from virtvet.profile import Profile
from virtvet.session import Selection, Session, profiles_of
from virtvet.snapshot.connections import Connections

Departures = Mapping[str, str]
CHECKS = catalogue.shipped()


def inventory_without_uri(lab: Lab, folder: Path) -> Path:
    """The lab's inventory, but libvirt reached through each host's SSH connection; its pki is still for handshakes."""
    yaml = YAML()
    tree = yaml.load(lab.inventory)
    for host in tree["hosts"].values():
        host["libvirt"].pop("uri")
    path = folder / "inventory-ssh.yaml"
    yaml.dump(tree, path)
    return path


def departures(inventory: Path, profile: Path, host: str, deadline: float = 20) -> Departures:
    """{"CPU-PIN-1 web1/vcpu0": "actual"} for everything on this host that does not pass; {} when all is well.

    Where a layer could not be looked at: "error: why".
    """
    with Connections() as connections:
        return departures_by(connections, inventory, profile, host, deadline)


def departures_by(
    connections: Connections, inventory: Path, profile: Path, host: str, deadline: float = 20
) -> Departures:
    """As `departures`, on connections that may stay open from one look to the next."""
    session = Session(*_asked(inventory, profile, host), CHECKS, Selection(), connections)
    session.look(lambda _host, _what: None, deadline)
    return {
        f"{check.control.id} {case.subject}": found
        for check in session.checks
        for case in session.cases(check, host)
        if (found := _departure(judge(check, case, session.snapshots[host])))
    }


@cache
def _asked(inventory: Path, profile: Path, host: str) -> tuple[Inventory, Mapping[str, Profile]]:
    """Read once: no test changes these files."""
    only = load_inventory(inventory, only=[host])
    return only, profiles_of(only, str(profile))


def _departure(observed: Observed) -> str:
    if observed.outcome is Outcome.FAILED:
        return " ".join(seen.layer for seen in observed.departing)
    return f"error: {observed.message()}" if observed.outcome is Outcome.ERROR else ""


def unlike(found: Departures, named: Departures) -> list[str]:
    """Where what departs differs from what the fault names ("CONTROL" or "CONTROL subject"); [] when just that."""
    wrong = [f"also {key}: {layers}" for key, layers in found.items() if _named(key, named) != _layers(layers)]
    missing = [f"not {key}: {layers}" for key, layers in named.items() if not _has(key, found)]
    return wrong + missing


def _layers(departed: str) -> str:
    """As a fault names them."""
    return "error" if could_not_look(departed) else departed


def could_not_look(departed: str) -> bool:
    """Whether no layer departs, but one could not be looked at."""
    return departed.startswith("error: ")


def _named(key: str, named: Departures) -> str | None:
    return named.get(key, named.get(key.partition(" ")[0]))


def _has(named: str, found: Departures) -> bool:
    return any(key == named or key.partition(" ")[0] == named for key in found)
