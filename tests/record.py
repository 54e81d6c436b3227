"""Record anew what tests are made from, with the lab or its image hosts up, or both: `python -m tests.record`.

From one look at what is up, as it is: tests/probes/*/*.txt, as tests/looks.py lists them. From one with a few faults in
the lab's hosts, so that the sample shows what failures look like: tests/recorded/lab.json. Both are text: read the
difference before you commit it. Process ids, ids of domains, and addresses differ every time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from lab import Lab
from lab.errors import LabError
from lab.image import ImageLab
from tests import recorded_text
from tests.lab.faults import cgroups, shares, tls
from tests.looks import PROBES, RECORDINGS, Recording
from virtvet import catalogue
from virtvet.errors import CannotLook
from virtvet.inventory import Inventory, load_inventory
from virtvet.probes import qemu
from virtvet.refresh import RECORDED, TOP, main
from virtvet.session import Selection, Session, profiles_of
from virtvet.snapshot.connections import Connections
from virtvet.snapshot.look import HostPlan, look
from virtvet.snapshot.model import Answer, Completed, Content, Domain, Failed, LibvirtAnswer, Snapshot
from virtvet.snapshot.sources import File, HostSource, Qmp, Source
from virtvet.snapshot.store import save

FAULTS = ("taskset moves a vCPU thread", "server key readable by all", "the share is not mounted")


def record() -> None:
    """Every look at what is up, and what is made from them."""
    lab = _lab()
    image = ImageLab("hv3", quiet=True)
    up = [one.inventory for one in (lab, image) if one and one.inventory.is_file()]
    with Connections() as connections:
        for inventory in map(load_inventory, up):
            for name, text in texts(inventory, connections).items():
                (PROBES / f"{name}.txt").write_text(text)
        if lab:
            record_sample(lab, load_inventory(lab.inventory), connections)


def _lab() -> Lab | None:
    try:
        return Lab.attach()
    except LabError:
        return None


def redacted(text: str) -> str:
    """Where this checkout stands shows in the hosts' mount tables, and is nobody's business."""
    return text.replace(str(TOP), "/checkout")


def record_sample(lab: Lab, inventory: Inventory, connections: Connections) -> None:
    """Break, look, restore, save."""
    known = {fault.name: fault for fault in (*tls.FAULTS, *cgroups.FAULTS, *shares.FAULTS)}
    with tls.prepared(lab), ExitStack() as restore:
        for name in FAULTS:
            fault = known[name]
            machine = lab.guests[fault.on] if "/" in fault.on else lab.hosts[fault.on]
            restore.callback(partial(machine.sh, fault.restores))
            machine.sh(fault.breaks)
        session = Session(inventory, profiles_of(inventory, "lab"), catalogue.shipped(), Selection(), connections)
        session.look(_in_silence, deadline=30)
        save(session.snapshots, RECORDED)
    RECORDED.write_text(redacted(RECORDED.read_text()))


def _in_silence(_host: str, _what: str) -> None:
    """Progress that nobody watches."""


# --- what unit tests are made from


def texts(inventory: Inventory, connections: Connections) -> Mapping[str, str]:
    """Each recording of these hosts, from one look."""
    wanted = {name: one for name, one in RECORDINGS.items() if one.in_lab and one.host in inventory.hosts}
    plans = [_plan(inventory, host, wanted.values()) for host in {one.host for one in wanted.values()}]
    seen = look(plans, _in_silence, connections=connections)
    return {name: _text(name, one, seen[one.host]) for name, one in wanted.items()}


def _plan(inventory: Inventory, host: str, recordings: Collection[Recording]) -> HostPlan:
    mine = [one for one in recordings if one.host == host]
    asked = {source for one in mine for source in one.sources}

    def monitors(names: Collection[str]) -> frozenset[Qmp]:
        return frozenset(source for source in asked if isinstance(source, Qmp) and source.guest in names)

    def inside(_names: Collection[str]) -> dict[str, frozenset[HostSource]]:
        guests = {guest for one in mine if one.inside for guest in one.guests}
        return {
            name: frozenset(source for one in mine if name in one.guests for source in one.inside) for name in guests
        }

    return HostPlan(
        inventory.hosts[host],
        frozenset(one for one in asked if not isinstance(one, Qmp)),
        inside,
        monitors,
        qemu.started_by_hand,
    )


def _text(name: str, recording: Recording, seen: Snapshot) -> str:
    whose = f": {', '.join(recording.guests)}" if recording.guests else ""
    about = f"{recording.host} of the lab{whose}. Recorded by `python -m tests.record`.\n\n"
    parts = recorded_text.parts(_slice(recording, seen))
    return about + redacted(recorded_text.written(parts))


def _slice(recording: Recording, seen: Snapshot) -> Snapshot:
    """As much of a look as is recorded, in the order of the sources."""
    others = _left_out(recording, seen)
    guests = {name: seen.guests[name] for name in recording.guests if recording.inside}
    return replace(
        seen,
        answers={source: _kept(source, seen.answer(source), recording, others) for source in recording.sources},
        guests={name: _inside(recording, inside) for name, inside in guests.items()},
    )


def _inside(recording: Recording, seen: Snapshot) -> Snapshot:
    return replace(seen, answers={one: _kept(one, seen.answer(one), recording, NOBODY) for one in recording.inside})


NOBODY = re.compile(r"(?!)")


def _left_out(recording: Recording, seen: Snapshot) -> re.Pattern[str]:
    """What is found in lines and paths that are not recorded: of other guests, and what the recording says."""
    others = [process for process in qemu.processes(seen).values() if process.name not in recording.guests]
    names = [re.escape(process.name) for process in others if process.name]
    of_processes = [rf"^/proc/{process.pid}/" for process in others]
    of_names = [rf"^{qemu.STATE}/{name}\.|-{name}\.libvirt-qemu/|\\x2d{name}\.scope/" for name in names]
    return re.compile("|".join((*of_processes, *of_names, recording.without or NOBODY.pattern)))


def _kept(source: Source, answer: Answer, recording: Recording, others: re.Pattern[str]) -> Answer:
    """What of an answer concerns these guests, without what differs from moment to moment. Raises CannotLook."""
    match source, answer:
        case _, Failed(reason):
            raise CannotLook(source, reason)
        case _, LibvirtAnswer():
            domains = {name: _domain(answer.domains[name], recording) for name in recording.guests}
            return replace(answer, capabilities_xml="", domains=domains)
        case _, Completed(stdout=stdout):
            records = re.split(rb"(?<=[\n\0])", stdout)
            mine = [record for record in records if not others.search(record.decode("utf-8", "replace"))]
            return replace(answer, stdout=b"".join(mine))
        case _, Mapping():
            return {path: _steady(path, one) for path, one in answer.items() if not others.search(path)}
        case File(path), Content():
            return _steady(path, answer)
        case Qmp(), Content(data):
            return Content(json.dumps(json.loads(data), indent=1).encode() + b"\n")
    return answer


def _domain(domain: Domain, recording: Recording) -> Domain:
    documents = (xml and cut(xml, recording.elements) for xml in (domain.live_xml, domain.config_xml))
    live, config = documents
    return replace(domain, live_xml=live, config_xml=config, addresses=())


_ELEMENT = r"^{indent}<([\w:]+)(?:[^\n]*/>|[^\n]*</\1>|[^\n]*>\n(?:(?!{indent}<)[^\n]*\n)*?{indent}</\1>)\n"
_OF_DOMAIN, _OF_DEVICES = (re.compile(_ELEMENT.replace("{indent}", indent), re.MULTILINE) for indent in ("  ", "    "))
_DEVICES = re.compile(r"^  <devices>\n(.*)^  </devices>\n", re.MULTILINE | re.DOTALL)


def cut(xml: str, elements: Collection[str]) -> str:
    """A domain's XML with these elements of the domain and of its devices only; whole when none is named."""
    if not elements:
        return xml

    def kept(element: re.Match[str]) -> str:
        return element[0] if element[1] in ("name", "uuid", "devices", *elements) else ""

    fewer = _DEVICES.sub(lambda found: found[0].replace(found[1], _OF_DEVICES.sub(kept, found[1])), xml)
    return _OF_DOMAIN.sub(kept, fewer)


_STATUS = re.compile(r"^(?!(Name|VmLck|Cpus_allowed_list|Mems_allowed_list):).*\n", re.MULTILINE)
_MEMORY = re.compile(r"^(?!.*(MemTotal|Hugepagesize):).*\n", re.MULTILINE)
_MOUNTS = re.compile(r"^(?!.* cgroup2? ).*\n", re.MULTILINE)
_KEPT_OF_STAT = (*range(1, 9), 18, 19, *range(38, 42))
"""Fields of proc_pid_stat(5): state, priorities, CPU, policy; the others are counters and addresses."""


def _steady(path: str, answer: Answer) -> Answer:
    """A file without what nobody reads and what counts on."""
    if not isinstance(answer, Content):
        return answer
    text = answer.data.decode("utf-8", "surrogateescape")
    match path.split("/"):
        case ["", "proc", *_, "stat"]:
            text = _stat(text)
        case ["", "proc", *_, "status"]:
            text = _STATUS.sub("", text)
        case [*_, "meminfo"]:
            text = _MEMORY.sub("", text)
        case [*_, "mountinfo"]:
            text = _MOUNTS.sub("", text)
    return Content(text.encode("utf-8", "surrogateescape"))


def _stat(text: str) -> str:
    head, _, rest = text.rstrip("\n").rpartition(") ")
    fields = (word if number in _KEPT_OF_STAT else "0" for number, word in enumerate(rest.split(" "), 3))
    return f"{head}) {' '.join(fields)}\n"


if __name__ == "__main__":
    record()
    main()
