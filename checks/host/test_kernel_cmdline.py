"""The kernel was started, and will be started, with the right words."""

from __future__ import annotations

from collections.abc import Iterable

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import kernel_cmdline
from virtvet.profile.kernel import Cmdline
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

REFERENCES = (
    "https://docs.kernel.org/admin-guide/kernel-parameters.html",
    "https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html",
)

PRESENT = Control(
    id="HOST-CMDLINE-1",
    title="The kernel's command line has a word",
    area="kernel",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="What /proc/cmdline has was set at the last boot. Where grub.cfg lacks it, it is gone at the next; where "
    "only grub.cfg has it, it is gone with the next kernel that is installed.",
    hint="grep GRUB_CMDLINE_LINUX /etc/default/grub   # add {word}; then: update-grub && reboot   "
    "(Fedora, RHEL: grubby --update-kernel=ALL --args='{word}')",
    references=REFERENCES,
)
ABSENT = Control(
    id="HOST-CMDLINE-2",
    title="The kernel's command line lacks a word",
    area="kernel",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="Words such as mitigations=off are set to measure something and forgotten; no other setting shows them.",
    hint="grep -r '{word}' /etc/default/grub /etc/default/grub.d   # take it out; then: update-grub && reboot   "
    "(Fedora, RHEL: grubby --update-kernel=ALL --remove-args='{word}')",
    references=REFERENCES,
)


def _wants(host: HostTarget) -> Cmdline:
    return (host.wants.kernel and host.wants.kernel.cmdline) or Cmdline()


def present(host: HostTarget) -> Iterable[Case]:
    """Each word that must be there."""
    return (Case(word, word, (word,), words={"word": word}) for word in _wants(host).present)


def absent(host: HostTarget) -> Iterable[Case]:
    """Each word that must not."""
    return (Case(word, f"no {word}", (word,), words={"word": word}) for word in _wants(host).absent)


def _sources(host: HostTarget) -> Iterable[Source]:
    return kernel_cmdline.SOURCES if _wants(host) != Cmdline() else ()


@check(
    PRESENT,
    cases=present,
    sources=_sources,
    config=kernel_cmdline.config,
    actual=kernel_cmdline.actual,
)
def test_command_line_has_the_word(case: Case, observed: object) -> None:
    """The boot loader's default entry and what it is made of; /proc/cmdline."""
    assert observed == case.expected


@check(
    ABSENT,
    cases=absent,
    sources=_sources,
    config=kernel_cmdline.config_absent,
    actual=kernel_cmdline.actual_absent,
)
def test_command_line_lacks_the_word(case: Case, observed: object) -> None:
    """The boot loader's default entry and what it is made of; /proc/cmdline."""
    assert observed == case.expected
