"""KVM or TCG: tried, never assumed. A /dev/kvm that is there may still be of no use.

In nested and para-virtualized clouds KVM can open, start a guest in real mode, and hang as soon as that guest turns on
paging. So a guest of some hundred bytes goes all the way to 64-bit mode, and has to say so within seconds.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from virtvet.errors import BadInput
from virtvet.image import programs

Name = Literal["kvm", "tcg"]

KVM = Path("/dev/kvm")
PROBE_SECONDS = 3.0
"""Measured: 0.1 s where KVM works."""
EXIT_PORT, SAID = 0xF4, 0x2A
ENDED_WELL = SAID << 1 | 1
"""isa-debug-exit ends QEMU with this code (QEMU hw/misc/debugexit.c)."""

# A ROM of 64 KiB at the end of the first MiB; what runs is, in assembler:
PROBE = bytes.fromhex(
    "fa"  # start: cli
    "2e660f0116af00"  # lgdtl %cs:gdtr
    "0f20c00c010f22c0"  # cr0 |= PE
    "66ea18000f000800"  # ljmpl $8, $0xf0018
    "66b810008ed88ec08ed0"  # ds = es = ss = 16
    "31c0bf00100000b9000c0000f3ab"  # clear 0x1000..0x3fff
    "c7050010000003200000"  # PML4[0] = 0x2000, present, writable
    "c7050020000003300000"  # PDPT[0] = 0x3000, present, writable
    "c7050030000083000000"  # PD[0] = the first 2 MiB
    "b8001000000f22d8"  # cr3 = 0x1000
    "0f20e00c200f22e0"  # cr4 |= PAE
    "b9800000c00f3280cc010f30"  # EFER |= LME
    "0f20c00d000000800f22c0"  # cr0 |= PG
    "ea7c000f001800"  # ljmp $24, $0xf007c
    "bc00800000"  # 64-bit mode: esp = 0x8000
    "b9e8030000515ae2fc"  # a thousand times push, pop
    "b02ae6f4f4"  # outb $0x2a, $0xf4; hlt
    "0000000000000000ffff0000009acf00ffff00000092cf00ffff0000009aaf00"  # gdt: null, code, data, code of 64 bits
    "1f008f000f00"  # gdtr
)
RESET = bytes.fromhex("ea000000f0")  # ljmp $0xf000, $0
ROM_SIZE, RESET_VECTOR = 0x10000, 0xFFF0


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the machine, and why not the other."""

    name: Name
    why: str
    """Why KVM is not usable; empty where nobody need know."""

    @property
    def cpus(self) -> int:
        """How many there are where nobody asks for more: under TCG a second one would only wait for the first."""
        return 2 if self.name == "kvm" else 1

    @property
    def options(self) -> tuple[str, ...]:
        """For QEMU.

        TCG runs all vCPUs in one thread: in several, one boot in about a dozen hangs while the kernel patches itself.
        Its largest CPU model has what systems of today are compiled for (x86-64-v3), and SVM, so that there is a
        /dev/kvm inside. Five levels of page tables would only cost time.
        """
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        return ("-accel", "tcg,thread=single,tb-size=512", "-cpu", "max,la57=off")


def choose(wanted: Name | None) -> Accelerator:
    """KVM if it works here, else TCG; or the one that is wanted. Raises BadInput where that is KVM and it does not."""
    if wanted == "tcg":
        return Accelerator("tcg", "")
    if not (trouble := kvm_trouble()):
        return Accelerator("kvm", "")
    if wanted == "kvm":
        raise BadInput.one(f"KVM is not usable here: {trouble}", "--accel tcg works without it, slowly")
    return Accelerator("tcg", f"KVM is not usable here: {trouble}")


def kvm_trouble(seconds: float = PROBE_SECONDS) -> str:
    """Why KVM is of no use; empty when a guest of ours ran in 64-bit mode."""
    if not KVM.exists():
        return f"there is no {KVM}"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return f"{KVM} may not be opened by this user"
    return probe(("-accel", "kvm", "-cpu", "host"), seconds)


def probe(accelerated: Sequence[str], seconds: float) -> str:
    """Run the guest; empty when it came to its end, else what happened."""
    rom = bytearray(b"\xf4" * ROM_SIZE)
    rom[: len(PROBE)] = PROBE
    rom[RESET_VECTOR : RESET_VECTOR + len(RESET)] = RESET
    with TemporaryDirectory(prefix="virtvet-image-") as folder:
        path = Path(folder, "probe.rom")
        path.write_bytes(rom)
        machine = ["-machine", "q35", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none"]
        ends = ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1", "-bios", str(path)]
        argv = [programs.path_of("qemu-system-x86_64"), *accelerated, *machine, *ends]
        return _outcome(argv, folder, seconds)


def _outcome(argv: Sequence[str], folder: str, seconds: float) -> str:
    try:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, cwd=folder
        )
    except subprocess.TimeoutExpired:
        return f"a guest of {len(PROBE)} bytes hung for {seconds:g} s"
    if done.returncode == ENDED_WELL:
        return ""
    lines = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    said = next((line for line in lines if "warning:" not in line), f"QEMU ended with {done.returncode}")
    return said.partition("qemu-system-x86_64: ")[2] or said
