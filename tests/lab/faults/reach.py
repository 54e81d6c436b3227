"""Machines and guests that do not answer: errors or clear failures within the deadline, once, and never passes."""

from __future__ import annotations

from tests.lab.faults import Fault

PLAIN1_TAP = "$(virsh -q domiflist plain1 | awk '{print $1}')"
WEB1_TAP = PLAIN1_TAP.replace("plain1", "web1")

NONSENSE = r"#!/bin/sh\necho \$\$ >/run/qemu-ga.pid; while echo hello; do sleep 0.1; done >\$4\n"
AGENT_ANSWERS = 'until virsh -q qemu-agent-command mute2 \'{"execute":"guest-ping"}\'; do sleep 0.2; done'


def _at_console(*commands: str) -> str:
    """Have a shell of mute2 run this, without its agent. QEMU looks once a second whether somebody has opened the
    console (chardev/char-pty.c)."""
    return f"{{ sleep 1.2; printf '%s\\n' '{'; '.join(commands)}'; sleep 0.5; }} >$(virsh ttyconsole mute2)"


FAULTS = [
    Fault("a guest is shut off", "hv1", "virsh destroy plain1", "virsh start plain1", {"GUEST-STATE-1 plain1": "live"}),
    Fault("a guest is paused", "hv1", "virsh suspend plain1", "virsh resume plain1", {"GUEST-STATE-1 plain1": "live"}),
    Fault(
        "a guest cannot be reached",
        "hv1",
        f"ip link set {WEB1_TAP} down",
        f"ip link set {WEB1_TAP} up",
        {"GUEST-REACH-1 web1": "error"},
        anew=True,
        deadline=8,
    ),
    Fault(
        "a guest's agent hangs",
        "hv2",
        _at_console("killall -STOP qemu-ga"),
        f"{_at_console('killall -CONT qemu-ga')}; {AGENT_ANSWERS}",
        {"GUEST-REACH-1 mute2": "error"},
    ),
    Fault(
        "a guest's agent has ended",
        "hv2",
        _at_console("mv /usr/sbin/qemu-ga /usr/sbin/qemu-ga.away", "killall qemu-ga"),
        f"{_at_console('mv /usr/sbin/qemu-ga.away /usr/sbin/qemu-ga')}; {AGENT_ANSWERS}",
        {"GUEST-REACH-1 mute2": "error"},
    ),
    Fault(
        "a guest's agent may run no commands",
        "hv2",
        _at_console('sed -i "s/exec qemu-ga/& -b guest-exec/" /etc/agent', "killall qemu-ga") + f"; {AGENT_ANSWERS}",
        _at_console('sed -i "s/ -b guest-exec//" /etc/agent', "killall qemu-ga") + f"; {AGENT_ANSWERS}",
        {"GUEST-REACH-1 mute2": "error"},
    ),
    Fault(
        "a guest's agent talks nonsense",
        "hv2",
        _at_console(
            "mv /usr/sbin/qemu-ga /usr/sbin/qemu-ga.away",
            f'printf "{NONSENSE}" >/usr/sbin/qemu-ga',
            "chmod +x /usr/sbin/qemu-ga",
            "killall qemu-ga",
        ),
        _at_console("mv /usr/sbin/qemu-ga.away /usr/sbin/qemu-ga", "kill $(cat /run/qemu-ga.pid)")
        + f"; {AGENT_ANSWERS}",
        {"GUEST-REACH-1 mute2": "error"},
    ),
    Fault(
        "the host has another host key",
        "hv1",
        "cd /etc/ssh; cp -p ssh_host_ed25519_key /run/key.kept; rm ssh_host_ed25519_key; "
        "ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key; kill -HUP $(cat /run/sshd.pid); sleep 0.5",
        "cd /etc/ssh; cat /run/key.kept >ssh_host_ed25519_key; rm /run/key.kept; "
        "ssh-keygen -y -f ssh_host_ed25519_key >ssh_host_ed25519_key.pub; kill -HUP $(cat /run/sshd.pid); sleep 0.5",
        {"HOST-REACH-1": "error"},
        anew=True,
    ),
    Fault(
        "sshd accepts, then hangs",
        "hv1",
        "kill -STOP $(cat /run/sshd.pid)",
        "kill -CONT $(cat /run/sshd.pid)",
        {"HOST-REACH-1": "error"},
        anew=True,
        deadline=5,
    ),
    Fault(
        "libvirtd has ended",
        "hv1",
        "kill $(cat /run/libvirtd.pid); while kill -0 $(cat /run/libvirtd.pid) 2>/dev/null; do sleep 0.1; done",
        ". /etc/default/libvirtd; libvirtd -d $LIBVIRTD_ARGS; until virsh uri; do sleep 0.1; done",
        {
            "HOST-REACH-2": "error",
            "DAEMON-START-1": "live",
            "DAEMON-SOCK-1": "actual",
            "LISTEN-TLS-1": "actual",
            "TLS-SHAKE-1": "actual",
            "TLS-HOST-1": "actual",
        },
        anew=True,
    ),
]
