"""Huge pages, KSM, transparent huge pages and swap of the host are as stated, now and at the next boot."""

from __future__ import annotations

from collections.abc import Iterator

from virtvet.check import Case, Control, Severity, check, where
from virtvet.expect import AtLeast, NotEmpty, show
from virtvet.probes import host_memory
from virtvet.profile.host_memory import HostMemory, PoolWants
from virtvet.remedies.host_memory import KSM as TURN_KSM
from virtvet.remedies.host_memory import PAGES, TRANSPARENT
from virtvet.target import HostTarget

HUGE = "https://docs.kernel.org/admin-guide/mm/hugetlbpage.html"
PARAMETERS = "https://docs.kernel.org/admin-guide/kernel-parameters.html"

COUNT = Control(
    id="HOST-MEM-1",
    title="So many huge pages are kept",
    area="host-memory",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="A guest on huge pages does not start when there are too few; what is kept for nobody is lost to all.",
    hint="echo {expected} > {pool}/nr_hugepages   # at boot: hugepagesz={page} hugepages={expected}",
    references=(HUGE, PARAMETERS),
)
NODE = Control(
    id="HOST-MEM-2",
    title="So many huge pages are kept on a NUMA node",
    area="host-memory",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="A guest that is bound to one node finds its pages there or does not start, however many others have.",
    hint="echo {expected} > /sys/devices/system/node/node{node}/hugepages/{directory}/nr_hugepages",
    references=(HUGE,),
)
FREE = Control(
    id="HOST-MEM-3",
    title="So many huge pages are free",
    area="host-memory",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="A host that is to take another guest needs pages that nobody has.",
    hint="grep . {pool}/*_hugepages",
    references=(HUGE,),
)
MOUNTED = Control(
    id="HOST-MEM-4",
    title="A hugetlbfs of this page size is where libvirt looks, or is not",
    area="host-memory",
    severity=Severity.HIGH,
    requirement="R42",
    rationale="libvirt takes huge pages from a hugetlbfs of their size, and starts no guest on them without one.",
    hint="mount -t hugetlbfs -o pagesize={page} hugetlbfs DIRECTORY; systemctl restart libvirtd   "
    "# and hugetlbfs_mount in /etc/libvirt/qemu.conf, where it is stated",
    references=("https://libvirt.org/kbase/rpm-deployment.html", HUGE),
)
USUAL = Control(
    id="HOST-MEM-5",
    title="Huge pages have this size where none is named",
    area="host-memory",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="`<hugepages/>` without a size takes the kernel's default one, of which there may be none.",
    hint="vi /etc/default/grub   # default_hugepagesz={page} in GRUB_CMDLINE_LINUX, then update-grub and a reboot",
    references=(PARAMETERS,),
)
KSM = Control(
    id="HOST-MEM-6",
    title="KSM merges equal pages of guests, or does not",
    area="host-memory",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="Merged pages let a guest find out by the time of its writes what others hold, mix NUMA nodes, and take "
    "CPU time; without them a host that is overcommitted runs out of memory.",
    hint="echo {run} > /sys/kernel/mm/ksm/run; systemctl {verb} ksm.service ksmtuned.service",
    references=("https://docs.kernel.org/admin-guide/mm/ksm.html",),
)
THP = Control(
    id="HOST-MEM-7",
    title="Transparent huge pages are as stated",
    area="host-memory",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="They spare guests TLB misses; putting memory together for them stalls guests that must answer in time.",
    hint="echo {expected} > /sys/kernel/mm/transparent_hugepage/{file}   # at boot: a line of tmpfiles.d, or "
    "transparent_hugepage= on the command line",
    references=("https://docs.kernel.org/admin-guide/mm/transhuge.html",),
)
SWAP = Control(
    id="HOST-MEM-8",
    title="The host has swap space, or none",
    area="host-memory",
    severity=Severity.MEDIUM,
    requirement="R42",
    rationale="What guests hold in memory reaches the host's disk, and a guest that is swapped out stalls; without any "
    "swap the kernel kills a guest instead.",
    hint="{way}   # and its line in /etc/fstab, for the next boot",
    references=("https://man7.org/linux/man-pages/man5/fstab.5.html",),
)


def _wants(host: HostTarget) -> Iterator[HostMemory]:
    if host.wants.memory:
        yield host.wants.memory


def _pools(host: HostTarget) -> Iterator[tuple[int, PoolWants, HostMemory]]:
    for wants in _wants(host):
        yield from ((size, pool, wants) for size, pool in wants.hugepages.items())


def _words(size: int) -> dict[str, object]:
    """`page`: as the kernel's parameters have it."""
    page = show(size, "bytes").replace(" ", "").removesuffix("iB")
    directory = host_memory.pool(size).rpartition("/")[2]
    return {"pool": host_memory.pool(size), "page": page, "directory": directory}


def counts(host: HostTarget) -> Iterator[Case]:
    """Each size whose number is stated."""
    for size, pool, wants in _pools(host):
        if pool.count is not None:
            yield Case(show(size, "bytes"), pool.count, (size, wants.persistent), words=_words(size))


@check(
    COUNT,
    cases=counts,
    sources=where(counts, host_memory.POOL_SOURCES),
    config=host_memory.count_at_boot,
    actual=host_memory.count,
    remedy=PAGES,
)
def test_huge_pages_are_kept(case: Case, observed: object) -> None:
    """For good; pages that were only borrowed do not count."""
    assert observed == case.expected


def on_nodes(host: HostTarget) -> Iterator[Case]:
    """Each node of each size."""
    for size, pool, _wants in _pools(host):
        for node, count in pool.nodes.items():
            words = _words(size) | {"node": node}
            yield Case(f"{show(size, 'bytes')} node {node}", count, (size, node), words=words)


@check(NODE, cases=on_nodes, sources=where(on_nodes, host_memory.POOL_SOURCES), actual=host_memory.on_node)
def test_huge_pages_are_on_their_nodes(case: Case, observed: object) -> None:
    """The kernel spreads them as evenly as memory allows, if nobody says otherwise."""
    assert observed == case.expected


def free(host: HostTarget) -> Iterator[Case]:
    """Each size of which some must be free."""
    for size, pool, _wants in _pools(host):
        if pool.free is not None:
            yield Case(show(size, "bytes"), AtLeast(pool.free), (size,), words=_words(size))


@check(FREE, cases=free, sources=where(free, host_memory.POOL_SOURCES), actual=host_memory.free)
def test_huge_pages_are_free(case: Case, observed: object) -> None:
    """At the moment of the look."""
    assert observed == case.expected


def mounted(host: HostTarget) -> Iterator[Case]:
    """Each size of which it is stated."""
    for size, pool, _wants in _pools(host):
        if pool.mounted is not None:
            expected = NotEmpty() if pool.mounted else frozenset()
            yield Case(show(size, "bytes"), expected, (size,), words=_words(size))


@check(MOUNTED, cases=mounted, sources=where(mounted, host_memory.MOUNT_SOURCES), actual=host_memory.mount_points)
def test_hugetlbfs_is_where_libvirt_looks(case: Case, observed: object) -> None:
    """libvirt looks once, when it starts."""
    assert observed == case.expected


def usual(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if size := wants.default_hugepage:
            yield Case("default", size, (wants.persistent,), words=_words(size), unit="bytes")


@check(
    USUAL,
    cases=usual,
    sources=where(usual, host_memory.DEFAULT_SOURCES),
    config=host_memory.usual_size_at_boot,
    actual=host_memory.usual_size,
)
def test_huge_pages_have_their_usual_size(case: Case, observed: object) -> None:
    """It cannot be changed while the kernel runs."""
    assert observed == case.expected


def ksm(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.ksm is not None:
            words = {"run": 1, "verb": "enable --now"} if wants.ksm else {"run": 2, "verb": "disable --now"}
            yield Case("ksm", "on" if wants.ksm else "off", (wants.persistent,), words=words)


@check(
    KSM,
    cases=ksm,
    sources=where(ksm, host_memory.KSM_SOURCES),
    config=host_memory.ksm_at_boot,
    actual=host_memory.ksm,
    remedy=TURN_KSM,
)
def test_ksm_is_on_or_off(case: Case, observed: object) -> None:
    """Pages that are still merged after it was stopped are a departure of their own."""
    assert observed == case.expected


def transparent(host: HostTarget) -> Iterator[Case]:
    """For whom, and who waits, as far as stated."""
    for wants in _wants(host):
        for name in host_memory.THP if wants.transparent_hugepages else ():
            if expected := getattr(wants.transparent_hugepages, name):
                yield Case(name, expected, (name, wants.persistent), words={"file": name})


@check(
    THP,
    cases=transparent,
    sources=where(transparent, host_memory.THP_SOURCES),
    config=host_memory.transparent_at_boot,
    actual=host_memory.transparent,
    remedy=TRANSPARENT,
)
def test_transparent_huge_pages_are_as_stated(case: Case, observed: object) -> None:
    """The word in brackets."""
    assert observed == case.expected


def swap(host: HostTarget) -> Iterator[Case]:
    """One case, if stated."""
    for wants in _wants(host):
        if wants.swap is not None:
            words = {"way": "swapon DEVICE" if wants.swap else "swapoff -a"}
            yield Case("swap", NotEmpty() if wants.swap else frozenset(), (wants.persistent,), words=words)


@check(
    SWAP,
    cases=swap,
    sources=where(swap, host_memory.SWAP_SOURCES),
    config=host_memory.swap_at_boot,
    actual=host_memory.swap,
)
def test_swap_is_there_or_not(case: Case, observed: object) -> None:
    """Devices and files that are in use now, and those of the next boot."""
    assert observed == case.expected
