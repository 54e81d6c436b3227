"""CPUs kept for guests, from what the next boot reads and from what the kernel shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.tuning_looks import Said, boot, dropin, look
from virtvet.check import Reading
from virtvet.errors import CannotLook, NotApplicable
from virtvet.probes import isolation, kernel, kernel_cmdline
from virtvet.probes.isolation import BALANCER, BALANCER_FILES, BALANCING, TUNED, kernel_list, mask
from virtvet.snapshot.model import Absent, Answer, Content, Snapshot, TooLarge, Unreadable

FOUR = {isolation.POSSIBLE: "0-3\n"}
BUILT: Said = {kernel.OSRELEASE: "6.1.0-56-amd64\n", isolation.BUILT_WITH: {}}


def files(texts: Mapping[str, str]) -> Answer:
    return {path: Content(text.encode()) for path, text in texts.items()}


def values(found: Any) -> list[Any]:
    return [found.value] if isinstance(found, Reading) else [one.value for one in found]


def running(cmdline: str, *said: Said) -> Snapshot:
    return look(boot(""), {kernel_cmdline.RUNNING: f"ro {cmdline}\n"}, FOUR, BUILT, *said)


def next_boot(cmdline: str, *said: Said) -> Snapshot:
    return look(boot(cmdline), {kernel_cmdline.RUNNING: "ro\n"}, FOUR, *said)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", set()),
        ("1", {1}),
        ("0-2,5", {0, 1, 2, 5}),
        ("4-N", {4, 5, 6, 7}),
        ("N", {7}),
        ("all", set(range(8))),
        ("0-7:1/4", {0, 4}),
        ("0-7:2/4", {0, 1, 4, 5}),
        ("6-20", {6, 7}),
        ("6-20:2/2", {6, 7}),
    ],
)
def test_lists_of_the_kernel(text: str, cpus: set[int]) -> None:
    assert kernel_list(text, 7, "x") == cpus


@pytest.mark.parametrize(
    "text",
    ["a", "1-", "-1", "1..2", "^1", "٣", "123456", "1:2", "0-3:x/2", "3-1", "0-7:3/2", "0-7:1/0", "0-7," * 20_000],
)
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(CannotLook):
        kernel_list(text, 7, "x")


@pytest.mark.parametrize(
    ("text", "cpus"), [("3", {0, 1}), ("00000000,00000002", {1}), ("1,00000000", {32}), ("0", set())]
)
def test_masks(text: str, cpus: set[int]) -> None:
    assert mask(text, "x") == cpus


@pytest.mark.parametrize("text", ["", "x", "0-1", "1,0", "0x3"])
def test_what_is_no_mask(text: str) -> None:
    with pytest.raises(CannotLook):
        mask(text, "x")


BOTH, MANAGED = frozenset({"domain", "managed_irq"}), frozenset({"managed_irq"})


@pytest.mark.parametrize(
    ("cmdline", "flags", "value"),
    [
        ("isolcpus=2-3", None, {2, 3}),
        ("isolcpus=domain,managed_irq,2-3", None, {2, 3}),
        ("isolcpus=managed_irq,2-3", None, "2-3, but not from the scheduler"),
        ("isolcpus=managed_irq,2-3", MANAGED, {2, 3}),
        ("isolcpus=managed_irq,domain,2-3", BOTH, {2, 3}),
        ("isolcpus=2-N", None, {2, 3}),
        ("isolcpus=1 isolcpus=2", None, {1}),
        ("quiet", None, set()),
    ],
)
def test_isolcpus_at_boot(cmdline: str, flags: frozenset[str] | None, value: object) -> None:
    assert values(isolation.isolcpus_at_boot(next_boot(cmdline), flags)) == [value]


def test_what_entries_are_made_of_counts_too() -> None:
    later = look(boot("isolcpus=2", "isolcpus=3"), FOUR)
    assert values(isolation.isolcpus_at_boot(later, None)) == [{2}, {3}]


@pytest.mark.parametrize(
    ("cmdline", "shown", "flags", "value"),
    [
        ("isolcpus=2-3", "2-3\n", None, {2, 3}),
        ("isolcpus=2-3", "\n", None, set()),  # the kernel ignored it: nohz_full= contradicts it
        ("isolcpus=managed_irq,2-3", "\n", None, set()),
        ("isolcpus=managed_irq,2-3", "\n", MANAGED, {2, 3}),
        ("isolcpus=domain,managed_irq,2-3", "2-3\n", BOTH, {2, 3}),
    ],
)
def test_isolcpus(cmdline: str, shown: str, flags: frozenset[str] | None, value: object) -> None:
    assert isolation.isolcpus(running(cmdline, {isolation.ISOLATED: shown}), flags).value == value


@pytest.mark.parametrize(
    ("cmdline", "flags"),
    [
        ("isolcpus=2-3", {"domain"}),
        ("isolcpus=nohz,domain,managed_irq,2-3", {"nohz", "domain", "managed_irq"}),
        ("isolcpus=managed_irq,all", {"managed_irq"}),
        ("isolcpus=managed_irq,1 isolcpus=1", {"managed_irq", "domain"}),
        ("isolcpus=managed_irq,1 isolcpus=nohz,2", {"managed_irq"}),
    ],
)
def test_flags(cmdline: str, flags: set[str]) -> None:
    assert isolation.flags(running(cmdline)).value == flags
    assert values(isolation.flags_at_boot(next_boot(cmdline))) == [flags]


@pytest.mark.parametrize(("shown", "value"), [("2-3\n", {2, 3}), ("(null)\n", set()), ("\n", set()), (Absent(), set())])
def test_nohz_full(shown: str | Answer, value: object) -> None:
    assert isolation.nohz_full(look({isolation.NOHZ_FULL: shown})).value == value


def test_parameters() -> None:
    assert values(isolation.nohz_full_at_boot(next_boot("nohz_full=1-3"))) == [{1, 2, 3}]
    assert values(isolation.rcu_nocbs_at_boot(next_boot("nohz_full=3 rcu_nocbs=1"))) == [{1, 3}]
    assert isolation.rcu_nocbs(running("rcu_nocbs=1-2")).value == {1, 2}
    assert isolation.rcu_nocbs(running("rcu_nocbs")).value == frozenset()
    assert isolation.rcu_nocbs(running("quiet")).value == frozenset()


@pytest.mark.parametrize(
    ("release", "line", "value"),
    [
        ("6.1.0-56-amd64", "CONFIG_RCU_NOCB_CPU=y", {1}),
        ("6.1.0-56-amd64", "# CONFIG_RCU_NOCB_CPU is not set", set()),
        ("6.1.0-9-amd64", "# CONFIG_RCU_NOCB_CPU is not set", {1}),
    ],
)
def test_a_kernel_that_cannot_offload_callbacks(release: str, line: str, value: set[int]) -> None:
    built = {isolation.BUILT_WITH: files({f"/boot/config-{release}": f"{line}\n"})}
    assert isolation.rcu_nocbs(running("rcu_nocbs=1", built)).value == value


@pytest.mark.parametrize("answer", [Absent(), Unreadable("denied"), TooLarge(1), "many\n"])
def test_cpus_that_cannot_be_read(answer: str | Answer) -> None:
    said = {isolation.POSSIBLE: answer, isolation.ISOLATED: answer, kernel_cmdline.RUNNING: answer}
    with pytest.raises(CannotLook):
        isolation.isolcpus(look(said), None)
    with pytest.raises(CannotLook):
        isolation.rcu_nocbs(look(FOUR, {kernel_cmdline.RUNNING: Unreadable("denied")}))


# --- interrupts, as an image host has them: number, name, where it may go, where it is led

IRQS = (
    (0, "timer", "0", "0"),
    (2, "", "0", ""),
    (27, "virtio0-req.0", "0", "0"),
    (28, "virtio0-req.1", "1", "1"),
    (29, "nvme0q0", "0-1", "0"),
    (35, "eth0-rx-0", "0-1", "0"),
)
ONE = frozenset({1})


def irqs(*more: tuple[int, str, str, str], effective: bool = True) -> Snapshot:
    every = (*IRQS, *more)
    led = {f"/proc/irq/{number}/effective_affinity_list": f"{cpus}\n" for number, _name, _may, cpus in every}
    return look(
        {
            isolation.ACTIONS: files({f"/sys/kernel/irq/{number}/actions": f"{name}\n" for number, name, *_ in every}),
            isolation.ALLOWED: files(
                {f"/proc/irq/{number}/smp_affinity_list": f"{may}\n" for number, _, may, _ in every}
            ),
            isolation.EFFECTIVE: files(led if effective else {}),
        }
    )


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ((), set()),
        ((36, "eth0-tx-0", "0-1", "1"), {"36 (eth0-tx-0) on 1"}),
        ((36, "eth0-tx-0", "1", "1"), {"36 (eth0-tx-0) on 1"}),
        ((36, "i801_smbus,ehci_hcd", "1", "1"), {"36 (i801_smbus,ehci_hcd) on 1"}),
        ((36, "virtio1-req.0", "0-1", "1"), {"36 (virtio1-req.0) on 1"}),  # others' reading and writing comes here
        ((36, "nvme0q0", "1", "1"), {"36 (nvme0q0) on 1"}),  # the admin queue: somebody moved it
        ((36, "nvme0q7", "1", "1"), set()),
        ((36, "mlx5_comp3@pci", "0-1", "1"), set()),  # the profile lets it
    ],
)
def test_interrupts(more: tuple[Any, ...], value: set[str]) -> None:
    seen = irqs(*([more] if more else []))
    assert isolation.led_to(seen, ONE, ("mlx5_comp*",)).value == value


def test_where_interrupts_may_go_counts_where_nobody_tells_more() -> None:
    seen = isolation.led_to(irqs(effective=False), ONE, ()).value
    assert seen == {"29 (nvme0q0) on 0-1", "35 (eth0-rx-0) on 0-1"}


@pytest.mark.parametrize("answer", [Unreadable("denied"), TooLarge(1), {}, {"/sys/kernel/irq/3/actions": TooLarge(1)}])
def test_interrupts_that_cannot_be_read(answer: Any) -> None:
    with pytest.raises(CannotLook):
        isolation.led_to(look({isolation.EFFECTIVE: {}, isolation.ALLOWED: answer, isolation.ACTIONS: answer}), ONE, ())


def test_an_interrupt_that_goes_nowhere_known() -> None:
    odd = {isolation.ACTIONS: files({"/sys/kernel/irq/7/actions": "eth9\n"})}
    with pytest.raises(CannotLook):
        isolation.led_to(
            look(odd, {isolation.EFFECTIVE: {}, isolation.ALLOWED: files({"/proc/irq/8/x": "0"})}), ONE, ()
        )


def test_default() -> None:
    assert isolation.default(look(FOUR, {isolation.DEFAULT: "ffffffff,00000003\n"})).value == {0, 1}
    assert values(isolation.default_at_boot(next_boot("irqaffinity=0-1"))) == [{0, 1}]
    assert values(isolation.default_at_boot(next_boot("quiet"))) == [{0, 1, 2, 3}]


# --- irqbalance


def unit(units: Any, enabled: str, active: str) -> dict[Any, str]:
    (name,) = units.names
    state = f"Id={name}\nNames={name}\nLoadState=loaded\nActiveState={active}\nUnitFileState={enabled}\n"
    return {units.files: f"{name} {enabled} enabled\n", units.shown: state}


@pytest.mark.parametrize(
    ("text", "cmdline", "value"),
    [
        ("IRQBALANCE_BANNED_CPULIST=2-3\n", "", set()),
        ('IRQBALANCE_BANNED_CPUS="c"\n', "", set()),
        ("IRQBALANCE_BANNED_CPUS=0x4\n", "", {3}),
        ("#IRQBALANCE_BANNED_CPULIST=2-3\nIRQBALANCE_BANNED_CPUS=\n", "", {2, 3}),
        ("#IRQBALANCE_BANNED_CPULIST=2-3\n", "isolcpus=2-3", set()),
        ("", "nohz_full=3 isolcpus=3", {2}),
        ("", "isolcpus=managed_irq,2-3", {2, 3}),
    ],
)
def test_irqbalance_at_boot(text: str, cmdline: str, value: set[int]) -> None:
    said = {BALANCER_FILES[0]: text, BALANCER_FILES[1]: Absent(), **unit(BALANCER, "enabled", "active")}
    assert isolation.balanced_at_boot(next_boot(cmdline, said), frozenset({2, 3})).value == value


def test_an_arguments_file_of_empty_lines_takes_no_time() -> None:
    said = {BALANCER_FILES[0]: "\n" * 200_000, BALANCER_FILES[1]: Absent(), **unit(BALANCER, "enabled", "active")}
    assert isolation.balanced_at_boot(next_boot("", said), frozenset({2})).value == {2}


@pytest.mark.parametrize(
    ("environment", "value"),
    [
        ("PATH=/bin\0IRQBALANCE_BANNED_CPULIST=2-3", set()),
        ("IRQBALANCE_BANNED_CPUS=00000004\0OTHER=1", {3}),
        ("PATH=/bin", {2}),
    ],
)
def test_irqbalance(environment: str, value: set[int]) -> None:
    said = {BALANCING: files({"/proc/7/environ": environment}), isolation.ISOLATED: "3\n", isolation.NOHZ_FULL: "3\n"}
    assert isolation.balanced(running("", said), frozenset({2, 3})).value == value


def test_no_irqbalance() -> None:
    gone = next_boot("", {BALANCING: {}}, unit(BALANCER, "disabled", "inactive"))
    for probe in (isolation.balanced_at_boot, isolation.balanced):
        with pytest.raises(NotApplicable):
            probe(gone, ONE)


# --- systemd, workqueues, tuned


@pytest.mark.parametrize(
    ("conf", "more", "value"),
    [
        ("[Manager]\nCPUAffinity=0-1\n", "", {0, 1}),
        ("[Manager]\n#CPUAffinity=0-1\n", "", None),
        ("[Manager]\nCPUAffinity=0\nCPUAffinity=1 3\n", "", {0, 1, 3}),
        ("[Manager]\nCPUAffinity=0-1\n", "[Manager]\nCPUAffinity=\nCPUAffinity=2\n", {2}),
        ("[Manager]\n", "[Manager]\nCPUAffinity = 2\n", {2}),
    ],
)
def test_system_at_boot(conf: str, more: str, value: set[int] | None) -> None:
    said = dropin(isolation.SYSTEM_DROPINS, more)
    assert isolation.system_at_boot(look(said, {isolation.SYSTEM_CONF: conf})).value == value


def test_system() -> None:
    assert isolation.system(look({isolation.INIT: "Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\n"})).value == {0, 1}
    with pytest.raises(CannotLook):
        isolation.system(look({isolation.INIT: "Name:\tsystemd\n"}))


def test_workqueues() -> None:
    assert isolation.workqueues(look({isolation.WORKQUEUES: "00000003\n"})).value == {0, 1}


@pytest.mark.parametrize(
    ("enabled", "active", "text", "config", "live"),
    [
        ("enabled", "active", "cpu-partitioning\n", "cpu-partitioning", "cpu-partitioning"),
        ("enabled", "inactive", "a  b\n", "a b", "tuned.service is inactive"),
        ("disabled", "active", "a\n", "tuned.service is disabled", "a"),
        ("enabled", "active", "\n", None, None),
        ("enabled", "active", Absent(), None, None),
    ],
)
def test_tuned(enabled: str, active: str, text: str | Answer, config: str | None, live: str | None) -> None:
    seen = look(unit(TUNED, enabled, active), {isolation.TUNED_PROFILE: text})
    assert isolation.tuned_at_boot(seen).value == config
    assert isolation.tuned(seen).value == live
