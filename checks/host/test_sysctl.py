"""Sysctls are as stated, now and after the next boot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virtvet.check import Case, Control, Severity, check
from virtvet.probes import settings, sysctl
from virtvet.remedies.sysctl import SET
from virtvet.snapshot.sources import Source
from virtvet.target import HostTarget

SYSCTL = Control(
    id="HOST-SYSCTL-1",
    title="A sysctl is as stated",
    area="kernel",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="A value set by hand is gone at the next boot; a file that another one overrides was never in effect; "
    "what some daemon wrote after boot stands in no file.",
    hint="sysctl -w '{subject}={value}'; echo '{subject} = {value}' >> /etc/sysctl.d/zz-local.conf   "
    "# who sets it: grep -rs '{subject}' /etc/sysctl.d /run/sysctl.d /usr/lib/sysctl.d",
    references=(
        "https://docs.kernel.org/admin-guide/sysctl/index.html",
        "https://www.freedesktop.org/software/systemd/man/latest/sysctl.d.html",
    ),
)


def sysctls(host: HostTarget) -> Iterable[Case]:
    """Each of them."""
    for name, stated in host.wants.kernel.sysctl.items() if host.wants.kernel else ():
        expected = settings.expected(stated)
        words = {"name": name, "value": settings.nearest(expected)}
        yield Case(name, expected, (name, settings.is_persistent(stated)), words=words)


def _sources(host: HostTarget) -> Iterator[Source]:
    for case in sysctls(host):
        yield from (sysctl.file(case.args[0]), *sysctl.CONFIG_SOURCES)


@check(SYSCTL, cases=sysctls, sources=_sources, config=sysctl.config, actual=sysctl.actual, remedy=SET)
def test_sysctl_is_as_stated(case: Case, observed: object) -> None:
    """The last file of sysctl.d that sets it; /proc/sys."""
    assert observed == case.expected
