"""`python -m lab image …`"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from lab import state
from lab.errors import LabError
from lab.image.build import image
from lab.image.core import ImageLab, root
from lab.image.machine import ImageHost
from lab.image.warm import warm
from lab.progress import Progress

Action = Callable[[argparse.Namespace], int]


def image_actions(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the actions."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, action: Action, help: str) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=help)
        one.set_defaults(action=action)
        return one

    add("build", _build, "build the image, if it is not there; print its disk")
    add("warm", _warm, "boot it once and freeze it, if that was not done")
    add("status", _status, "say what runs")
    for one in (add("up", _up, "make clones and leave them up"), add("down", _down, "end clones")):
        one.add_argument("names", nargs="*", metavar="HOST", help="default: hv3 and hv4 (down: all)")
    run = add("run", _run, "run a command in HOST or HOST/GUEST")
    run.add_argument("target", metavar="HOST[/GUEST]")
    run.add_argument("argv", nargs="+", metavar="CMD")


def _build(_options: argparse.Namespace) -> int:
    print(image(state.cache(), Progress()).disk)
    return 0


def _warm(_options: argparse.Namespace) -> int:
    say = Progress()
    print(warm(image(state.cache(), say), root(), say))
    return 0


def _up(options: argparse.Namespace) -> int:
    lab = ImageLab(*options.names).up(lasting=True)
    print(f"inventory   {lab.inventory}")
    for host in lab.hosts.values():
        print(f"{host.name}  ssh -F {host.folder / 'ssh_config'} {host.name}")
    return 0


def _down(options: argparse.Namespace) -> int:
    there = [path.name for path in root().glob("*/")]
    if names := options.names or there:
        ImageLab(*names).down()
    return 0


def _status(_options: argparse.Namespace) -> int:
    names = [path.name for path in root().glob("*/")]
    running = [name for name in names if ImageHost(name, root() / name).pid]
    print(" ".join(running) or "down")
    return 0 if running else 1


def _run(options: argparse.Namespace) -> int:
    host, _, _guest = options.target.partition("/")
    lab = ImageLab(host)
    if not lab.hosts[host].pid:
        raise LabError(f"{host} is not up: `python -m lab image up {host}`")
    argv = lab.machine(options.target).command(options.argv)
    os.execvp(argv[0], argv)
