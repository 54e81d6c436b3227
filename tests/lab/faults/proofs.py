"""What the faults prove together: which control on which layer, and the page that says so (docs/proofs.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.image import faults as image
from tests.image.faults.boots import BOOTS, Boot
from tests.lab.faults import (
    EXEMPT,
    Fault,
    backing,
    by_agent,
    by_hand,
    cgroups,
    cpu_model,
    disks,
    hosts,
    interfaces,
    memory,
    neighbours,
    reach,
    schedulers,
    shares,
    tls,
    vcpus,
)
from virtvet import catalogue
from virtvet.check import Check

FAULTS = (
    *tls.FAULTS,
    *cgroups.FAULTS,
    *backing.FAULTS,
    *cpu_model.FAULTS,
    *vcpus.FAULTS,
    *schedulers.FAULTS,
    *disks.FAULTS,
    *memory.FAULTS,
    *shares.FAULTS,
    *interfaces.FAULTS,
    *by_agent.FAULTS,
    *by_hand.FAULTS,
    *hosts.FAULTS,
    *neighbours.FAULTS,
    *reach.FAULTS,
)
"""Those of the lab's hosts as they are."""
ALL: tuple[Fault | Boot, ...] = (*FAULTS, *hosts.OF_HARDWARE, *neighbours.OF_NEIGHBOURS, *image.FAULTS, *BOOTS)
PREREQUISITES = "reach"
"""Controls of this area depart by an error: they say that nobody could look."""

HEAD = """\
# Proofs

A check that cannot fail says nothing. So every control is made to fail, on each of its layers, by a real fault on
the lab's hosts and guests (`docs/lab.md`): a certificate is replaced, a thread is moved, a file of a control group is
written behind libvirt's back. `tests/lab/test_faults.py` (hv1, hv2) and `tests/image/test_faults.py` (hv3, hv4) then
look with everything that virtvet has, and demand that exactly the controls named here depart, on exactly these layers,
and nothing else; they restore, look again, and all must be well. Faults of different concerns are broken together, and
each alone where what departs is not just that, or with `--alone`. The faults are data, in `tests/lab/faults/` and
`tests/image/faults/`; `tests/unit/test_fault_coverage.py` tells when a control or a layer has none. This page is made
of them: `python -m tests.lab.faults > docs/proofs.md`.

Faults on hv3 and hv4 are those of image hosts: `./dev test-b` proves them, `./dev test-a` the others, `./dev test` all.
What only a boot changes is proved on such a host that boots with other kernel parameters
(`tests/image/test_reboot.py`). Where a name says *forged*, a file is laid over what the kernel says.

*error* means that the check could not look and says so. Faults of libvirtd, certificates and cgroups that follow
from one another depart together, and are listed together.
"""


def layers_of(fault: Fault | Boot, checks: Iterable[Check]) -> Iterator[tuple[str, str]]:
    """(control, layer) for all that a fault proves. An error proves only a prerequisite."""
    known = {check.control.id: check for check in checks}
    for key, said in fault.departs.items():
        check = known[key.partition(" ")[0]]
        by_error = said == "error" and check.control.area == PREREQUISITES
        layers = check.layers if by_error else said.replace("error", "").split()
        yield from ((check.control.id, str(layer)) for layer in layers)


def proved(checks: Iterable[Check]) -> frozenset[tuple[str, str]]:
    """Every (control, layer) that some fault proves."""
    checks = tuple(checks)
    return frozenset(pair for fault in ALL for pair in layers_of(fault, checks))


def exempt() -> Iterator[tuple[str, str]]:
    """Every (control, layer) that is proved elsewhere."""
    for key in EXEMPT:
        control, *layers = key.split()
        yield from ((control, layer) for layer in layers)


def page() -> str:
    """docs/proofs.md."""
    checks = catalogue.shipped()
    done, elsewhere = proved(checks), [f"| {key.replace(' ', ' | ', 1)} | {why} |" for key, why in EXEMPT.items()]
    controls, layers = len({control for control, _layer in done}), sum(len(check.layers) for check in checks)
    numbers = f"{len(ALL)} faults prove {controls} of {len(checks)} controls, {len(done)} of {layers} controls × layers"
    return "\n".join(
        [
            HEAD,
            f"{numbers}; {len(tuple(exempt()))} are proved elsewhere.",
            "\n## Faults\n\n| fault | on | departs |\n|---|---|---|",
            *map(_row, ALL),
            "\n## Controls\n\n| control | layers | faults |\n|---|---|---|",
            *(_control(check, done) for check in checks),
            "\n## Proved elsewhere\n\n| control | layers | why, and where |\n|---|---|---|",
            *elsewhere,
            "",
        ]
    )


def _row(fault: Fault | Boot) -> str:
    departs = "<br>".join(f"{key}: {layers}" for key, layers in fault.departs.items())
    return f"| {fault.name} | {fault.on} | {departs} |"


def _control(check: Check, done: frozenset[tuple[str, str]]) -> str:
    control = check.control.id
    layers = ", ".join(str(layer) for layer in check.layers if (control, str(layer)) in done)
    count = sum(any(key.partition(" ")[0] == control for key in fault.departs) for fault in ALL)
    return f"| {control} | {layers or 'see below'} | {count or ''} |"
