"""Take a lab away wholly, from whatever state it is in.

Everything that runs in a lab is in a cgroup called ``virtvet-lab``, and every namespace, mount and interface but
one lives only as long as those processes do.
"""

import shutil

from lab import cgroups, network, state


def sweep() -> bool:
    """Remove every trace of a lab; whether there was any."""
    found = bool(cgroups.left()) or network.exists() or state.ROOT.exists()
    cgroups.kill_members()
    network.remove()
    cgroups.remove()
    shutil.rmtree(state.ROOT, ignore_errors=True)
    return found
