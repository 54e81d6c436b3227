"""A guest's CPU: mode, model, vendor, features, caches and topology, in the file, as it runs, and inside.

They never change while a guest runs: what runs is made wrong by a start from an altered definition, several at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.lab.faults import Fault
from tests.lab.faults.definitions import SETTLED, STARTED_BACK, STORED_BACK, started, stored


def _stored(name: str, departs: Mapping[str, str], *edits: str) -> Fault:
    return Fault(name, "hv1", stored(*edits), STORED_BACK, departs)


def _started(name: str, departs: Mapping[str, str], *edits: str) -> Fault:
    return Fault(name, "hv1", f"{started(*edits)}; {SETTLED}", STARTED_BACK, departs)


CPU = "<cpu mode='custom' match='exact' check='none'>"
MODEL = "<model fallback='forbid'>Westmere<.model>"
TOPOLOGY = "<topology sockets='1' dies='1' cores='2' threads='2'.>"

FAULTS = (
    _stored(
        "the next start takes the host's CPU model",
        {
            "CPU-MODEL-1 app1": "config",
            "CPU-MODEL-2 app1": "config",
            "CPU-MODEL-3 app1": "config",
            "CPU-MODEL-4 app1": "config",
            "CPU-MODEL-5 app1": "config",
        },
        f"s|{CPU}|<cpu mode='host-model' check='partial'>|",
        f"s|{MODEL}||",
        "s|<vendor>Intel</vendor>||",
    ),
    _stored(
        "the next start has another CPU model, of another vendor",
        {"CPU-MODEL-2 app1": "config", "CPU-MODEL-6 app1": "config"},
        "s|>Westmere<|>Opteron_G3<|",
        "s|>Intel<|>AMD<|",
    ),
    _stored(
        "the next start matches, checks and replaces the CPU model otherwise",
        {"CPU-MODEL-3 app1": "config", "CPU-MODEL-4 app1": "config", "CPU-MODEL-5 app1": "config"},
        f"s|{CPU}|<cpu mode='custom' match='strict' check='partial'>|",
        "s|fallback='forbid'|fallback='allow'|",
    ),
    _stored(
        "the next start has other features and no level 3 cache",
        {
            "CPU-MODEL-8 app1/rdrand": "config",
            "CPU-MODEL-8 app1/sse4.2": "config",
            "CPU-MODEL-8 app1/aes": "config",
            "CPU-MODEL-9 app1": "config",
        },
        "s|policy='require' name='rdrand'|policy='optional' name='rdrand'|",
        "s|policy='force' name='sse4.2'|policy='require' name='sse4.2'|",
        "/name='aes'/d",
        "s|<cache level='3' mode='emulate'/>|<cache mode='disable'/>|",
    ),
    _stored(
        "the next start arranges the vCPUs otherwise",
        {
            "CPU-TOPO-1 app1/sockets": "config",
            "CPU-TOPO-1 app1/dies": "config",
            "CPU-TOPO-1 app1/cores": "config",
            "CPU-TOPO-1 app1/threads": "config",
        },
        f"s|{TOPOLOGY}|<topology sockets='2' dies='2' cores='1' threads='1'/>|",
    ),
    _started(
        "the guest was started with another CPU model, other features, no level 3 cache, more sockets and dies",
        {
            "CPU-MODEL-2 app1": "live actual",
            "CPU-MODEL-3 app1": "live",
            "CPU-MODEL-7 app1": "actual guest",
            "CPU-MODEL-8 app1/rdrand": "live actual guest",
            "CPU-MODEL-8 app1/aes": "live actual guest",
            "CPU-MODEL-8 app1/avx512f": "live",
            "CPU-MODEL-9 app1": "live actual guest",
            "CPU-TOPO-1 app1/sockets": "live actual guest",
            "CPU-TOPO-1 app1/dies": "live actual guest",
            "CPU-TOPO-1 app1/cores": "live actual",
            "CPU-TOPO-1 app1/threads": "live actual",
        },
        "s|>Westmere<|>Nehalem<|",
        "s|match='exact'|match='strict'|",
        "s|policy='require' name='rdrand'|policy='disable' name='rdrand'|",
        "s|policy='disable' name='aes'|policy='require' name='aes'|",
        "/name='avx512f'/d",
        "s|<cache level='3' mode='emulate'/>|<cache mode='disable'/>|",
        f"s|{TOPOLOGY}|<topology sockets='2' dies='2' cores='1' threads='1'/>|",
    ),
    _started(
        "the guest was started with a CPU of another vendor, and a kernel that does without features it has",
        {
            "CPU-MODEL-2 app1": "live actual",
            "CPU-MODEL-6 app1": "live actual guest",
            "CPU-MODEL-7 app1": "actual guest",
            "CPU-MODEL-8 app1/rdrand": "guest",
            "CPU-MODEL-8 app1/sse4.2": "guest",
            "CPU-TOPO-1 app1/cores": "guest",  # an AMD CPU without topoext shows each thread as a core
        },
        "s|>Westmere<|>EPYC<|",
        "s|>Intel<|>AMD<|",
        "s|<cmdline>|&clearcpuid=rdrand,sse4_2 |",
    ),
    _started(
        "the guest was started with all that QEMU can give",
        {
            "CPU-MODEL-1 app1": "live actual",
            "CPU-MODEL-2 app1": "live actual",
            "CPU-MODEL-3 app1": "live",
            "CPU-MODEL-6 app1": "actual guest",
            "CPU-MODEL-7 app1": "actual guest",
            "CPU-TOPO-1 app1/cores": "guest",  # without hardware virtualization it is AMD's
        },
        f"s|{CPU}|<cpu mode='maximum' check='none'>|",
        f"s|{MODEL}||",
        "s|<vendor>Intel</vendor>||",
    ),
)
