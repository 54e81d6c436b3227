"""``python -m lab up|down|demo|status|run|guest|inventory``."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import FrameType

from lab import cgroups, network, state
from lab.core import Lab
from lab.errors import LabError, PreflightError
from lab.image.command import image_actions
from lab.machine import Guest, Host


def main() -> int:
    """Do what the arguments say; the exit code says how it went (2: this machine cannot carry a lab)."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return int(options.action(options))
    except PermissionError:
        print("lab: the lab needs root: run it with sudo", file=sys.stderr)
        return 2
    except PreflightError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="Two real libvirt hosts on this machine.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    up = _action(actions, "up", _up, "bring the lab up and leave it up")
    up.add_argument("--keep", action="store_true", default=None, help="leave a failed lab as it is (also KEEP=1)")
    for waiting in (up, _action(actions, "down", _down, "take the lab down, and what a killed one left behind")):
        waiting.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait for another's lab to end")
    demo = _action(actions, "demo", _demo, "bring the lab up, check both hosts, take it down (KEEP=1 leaves it up)")
    demo.add_argument("argv", nargs="*", metavar="OPTION", help="more options for `virtvet check`")
    _action(actions, "status", _status, "say what is up")
    image = actions.add_parser("image", help="image hosts: clones of a Debian hypervisor with systemd and VT-d")
    image_actions(image)
    _action(actions, "inventory", _inventory, "say how hosts and guests are reached")
    for name, where, action in (("run", "HOST", _run), ("guest", "HOST/GUEST", _guest)):
        command = _action(actions, name, action, f"run a command in {where}")
        command.add_argument("target", metavar=where)
        command.add_argument("argv", nargs="+", metavar="CMD")
    return parser


Action = Callable[[argparse.Namespace], int]


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, function: Action, help: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=help)
    parser.set_defaults(action=function)
    return parser


def _up(options: argparse.Namespace) -> int:
    lab = Lab(keep=options.keep, wait=options.wait).up()
    lab.leave_up()
    return _inventory(options)


def _demo(options: argparse.Namespace) -> int:
    """The main job as a user does it: the exit code is that of `virtvet check`."""
    with Lab() as lab:
        command = [sys.executable, "-m", "virtvet", "check", "profiles/lab.yaml", "--inventory", str(lab.inventory)]
        done = subprocess.run([*command, *options.argv], check=False)
        if lab.keep:
            print("\nthe lab stays up; ./dev lab inventory says how to reach it, ./dev lab down takes it down")
    return done.returncode


def _down(options: argparse.Namespace) -> int:
    Lab(wait=options.wait).down()
    return 0


def _status(options: argparse.Namespace) -> int:
    found = state.load()
    if found is None:
        left = [*map(str, cgroups.left()), *(["interface virtvet-lab"] if network.exists() else [])]
        print(f"down, but left behind: {' '.join(left)}" if left else "down")
        return 1
    phase = found.phase if found.in_hands else "left behind"
    print(f"{phase}, by process {found.owner} ({found.command}), logs in {found.logs}")
    if phase != "up":
        return 1
    for host in Lab.attach().hosts.values():
        guests = host.run(["virsh", "-q", "list", "--all"], check=False).stdout.rstrip()
        print(f"{host.name} {host.address}\n{guests}")
    return 0


def _inventory(options: argparse.Namespace) -> int:
    lab = Lab.attach()
    print(f"inventory   {lab.inventory}")
    print(f"ssh config  {lab.ssh_config}   (ssh -F {lab.ssh_config} {' '.join(lab.hosts)} or GUEST.HOST)")
    for host in lab.hosts.values():
        print(f"{host.name}  -H ssh://root@{host.address}  {lab.uri(host.name)}")
    print(f"guests      {' '.join(lab.guests)}")
    return 0


def _run(options: argparse.Namespace) -> int:
    return _replace(Lab.attach().hosts, options)


def _guest(options: argparse.Namespace) -> int:
    return _replace(Lab.attach().guests, options)


def _replace(machines: Mapping[str, Host | Guest], options: argparse.Namespace) -> int:
    """Become the command in the machine: streams and exit code pass through by themselves."""
    if options.target not in machines:
        raise LabError(f"there is no {options.target}: {', '.join(machines)}")
    argv = machines[options.target].command(options.argv)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    sys.exit(main())
