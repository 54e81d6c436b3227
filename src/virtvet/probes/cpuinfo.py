"""What a machine's kernel shows of its CPUs in /proc/cpuinfo, and how it names the features that libvirt names.

Source: show_cpuinfo (arch/x86/kernel/cpu/proc.c): a block for each online CPU, with `key\\t: value` lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from virtvet.check import Reading
from virtvet.errors import CannotLook
from virtvet.expect import ranges
from virtvet.snapshot.model import Snapshot
from virtvet.snapshot.sources import File

CPUINFO = File("/proc/cpuinfo")

_NUMBER = re.compile(r"processor\s*: (\d{1,5})", re.ASCII)


def readings(snapshot: Snapshot, key: str, meaning: Callable[[str], Any]) -> list[Reading]:
    """What each CPU's `key` means: one reading for all CPUs of which it means the same, with their numbers.

    `vendor_id\\t: GenuineIntel` in three blocks -> one reading, "/proc/cpuinfo of CPU 0-2". Raises CannotLook
    when a CPU has no such line, or there is no CPU.
    """
    found: dict[Any, tuple[list[int], str]] = {}
    for number, text in _values(snapshot, key):
        found.setdefault(meaning(text), ([], text))[0].append(number)
    return [
        Reading(value, f"{CPUINFO} of CPU {ranges(cpus)}", f"{key}: {text}"[:500])
        for value, (cpus, text) in found.items()
    ]


def _values(snapshot: Snapshot, key: str) -> Iterator[tuple[int, str]]:
    blocks = snapshot.read(CPUINFO).decode("utf-8", "backslashreplace").split("\n\n")
    numbered = [(match, block) for block in blocks if (match := _NUMBER.match(block))]
    if not numbered:
        raise CannotLook(CPUINFO, "shows no processor")
    for match, block in numbered:
        line = re.search(rf"^{re.escape(key)}[ \t]*:(.*)$", block, re.MULTILINE)
        if line is None:
            raise CannotLook(CPUINFO, f"shows no {key} of processor {match[1]}")
        yield int(match[1]), line[1].strip()


# --- flags

SAME = frozenset(
    """
    fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 pn clflush acpi mmx fxsr sse sse2 ss ht tm
    ia64 pbe pni dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid fma cx16 xtpr pdcm pcid dca sse4.1 sse4.2 x2apic movbe
    popcnt aes xsave avx f16c rdrand hypervisor arat fsgsbase tsc_adjust sgx bmi1 hle avx2 smep bmi2 erms invpcid rtm
    mpx avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw
    avx512vl avx512vbmi umip pku waitpkg gfni vaes vpclmulqdq avx512-vpopcntdq la57 rdpid bus-lock-detect cldemote
    movdiri movdir64b avx512-4vnniw avx512-4fmaps fsrm avx512-vp2intersect md-clear serialize pconfig arch-lbr amx-bf16
    avx512-fp16 amx-tile amx-int8 arch-capabilities avx-vnni avx512-bf16 xsaveopt xsavec xgetbv1 xsaves syscall nx
    mmxext fxsr_opt pdpe1gb rdtscp lm 3dnowext 3dnow lahf_lm cmp_legacy svm extapic abm sse4a misalignsse 3dnowprefetch
    osvw ibs xop skinit wdt lwp fma4 tce nodeid_msr tbm topoext perfctr_core perfctr_nb clzero xsaveerptr wbnoinvd
    virt-ssbd npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists pfthreshold avic
    v-vmsave-vmload vgif flush-l1d ibt enqcmd x2avic v-spec-ctrl overflow-recov succor
    """.split()
)
"""Features whose flag has libvirt's name, with underscores: made by comparing the CPUID bits of libvirt's
cpu_map/x86_features.xml with those of arch/x86/include/asm/cpufeatures.h of Linux 6.1 and 6.12."""
OTHERS = {
    "ds": "dts",
    "pclmuldq": "pclmulqdq",
    "tsc-deadline": "tsc_deadline_timer",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "sgxlc": "sgx_lc",
    "tsx-ldtrk": "tsxldtrk",
    "cr8legacy": "cr8_legacy",
    "pause-filter": "pausefilter",
    "invtsc": "nonstop_tsc",
}
"""Features whose flag has another name."""
SHARED = {
    "spec-ctrl": "ibrs",
    "ibrs": "ibrs",
    "ibpb": "ibpb",
    "stibp": "stibp",
    "amd-stibp": "stibp",
    "ssbd": "ssbd",
    "amd-ssbd": "ssbd",
}
"""Features that share a flag: there, it may be for the other's sake (init_speculation_control, …/cpu/common.c)."""


def flag(feature: str) -> str | None:
    """The kernel's name of a feature: `sse4.1` -> "sse4_1"; None where it shows none."""
    named = SHARED.get(feature) or OTHERS.get(feature)
    return named or (re.sub("[.-]", "_", feature) if feature in SAME else None)
