"""The `virtvet` command. `check` hands over to pytest, which imports everything heavy: what only some commands need is
imported by them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from virtvet import __version__, catalogue
from virtvet.check import Check
from virtvet.errors import BadInput, ExitCode
from virtvet.remedies.modes import MODES, RISKS

EXIT_CODES = """\b
Exit codes:
  0   everything asked holds
  1   something departs, or could not be looked at
  2   interrupted
  3   internal error
  4   usage error (no profile, no hosts, nothing selected)
  5   nothing was checked
  20  a host could not be reached
  21  a profile, inventory, snapshot or image file cannot be used
  22  a waiver has expired (kept for waivers, which are to come)
  23  something was mended but did not hold, and was undone"""

click.UsageError.exit_code = ExitCode.USAGE  # click's own is 2, which is "interrupted" here and in pytest

HERE = files("virtvet")


class Teaching(click.Group):
    """Commands in the order a newcomer needs them, and errors without tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order they are defined."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Bad input is told in lines, with its own exit code."""
        try:
            return super().invoke(ctx)
        except BadInput as bad:
            for problem in bad.problems:
                click.echo(f"virtvet: {problem}", err=True)
            sys.exit(ExitCode.BAD_INPUT)


@click.group(cls=Teaching, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="virtvet")
def main() -> None:
    """Check KVM/libvirt hosts and their guests against a profile, on every layer.

    \b
    Start here:
      virtvet profiles                          which profiles are shipped
      virtvet check kvm-baseline -H local://    check this machine
      virtvet check my.yaml -H ssh://root@hv1   check another
      virtvet image hv.qcow2 --profile my.yaml  boot an image and check it
      virtvet controls                          everything that can be checked
    """


HOSTS = "ssh://user@host:port, local://, ansible://GROUP?ansible_inventory=FILE, or a name of the inventory"
FIX = "mend what departs: plan touches nothing, try mends and undoes, keep keeps what was verified"


def _many(name: str, metavar: str, text: str, short: str = "", **more: Any) -> Callable[[Any], Any]:
    names = [short, f"--{name}"] if short else [f"--{name}"]
    return click.option(*names, name, multiple=True, metavar=metavar, help=f"{text}; repeatable", **more)


def _profiles(_context: object, _param: object, begun: str) -> list[CompletionItem]:
    """Shipped profiles; files where none begins so."""
    from virtvet.profile.load import list_shipped

    names = [CompletionItem(name, help=title) for name, title in list_shipped() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


def _areas(_context: object, _param: object, begun: str) -> list[str]:
    return sorted({one.control.area for one in catalogue.shipped() if one.control.area.startswith(begun)})


def _controls(_context: object, _param: object, begun: str) -> list[str]:
    return sorted(one.control.id for one in catalogue.shipped() if one.control.id.startswith(begun))


@main.command(epilog=EXIT_CODES)
@click.argument("profile", required=False, shell_complete=_profiles)
@_many("host", "HOST", HOSTS, short="-H")
@click.option(
    "--inventory",
    type=click.Path(),
    metavar="FILE",
    help="YAML: which hosts there are, how to reach them and their guests",
)
@_many("area", "AREA", "only this area (tls, cpu, memory, shares …)", shell_complete=_areas)
@_many("guest", "NAME", "only guests of this name or pattern")
@_many("control", "ID", "only this control id or pattern (CPU-PIN-*)", shell_complete=_controls)
@click.option("-k", "keyword", metavar="EXPR", help="only tests whose id matches, as pytest -k")
@click.option("--list", "list_only", is_flag=True, help="show what would be checked; no host is touched")
@click.option(
    "--from", "from", type=click.Path(), metavar="FILE", help="judge a recorded snapshot instead of looking at hosts"
)
@click.option(
    "--save-snapshot", type=click.Path(), metavar="FILE", help="also write what was seen to FILE (.json or .json.gz)"
)
@click.option("--fix", type=click.Choice(MODES), default="no", show_default=True, help=FIX)
@click.option("--fix-risk", type=click.Choice(RISKS), default=RISKS[0], show_default=True, help="the riskiest allowed")
@click.option("--exercise", is_flag=True, help="also do things to see them work, and take them back (docs/mending.md)")
@click.option("--reports", type=click.Path(), metavar="DIR", help="where reports go  [default: ./reports]")
@click.option("--ssh-config", type=click.Path(), metavar="FILE", help="an ssh_config(5) file for -H hosts")
@click.option("--sudo", is_flag=True, help="become root by sudo -n on -H hosts")
@click.option("--deadline", type=click.FloatRange(min=1), default=30, show_default=True, help="seconds a host may take")
@click.option("-v", "--verbose", is_flag=True, help="a line for every check")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def check(
    profile: str | None,
    keyword: str | None,
    list_only: bool,
    verbose: bool,
    pytest_args: tuple[str, ...],
    **options: object,
) -> None:
    """Check hosts against a profile (a YAML file, or the name of a shipped one).

    \b
    Examples:
      virtvet check kvm-baseline -H ssh://root@hv1 -H ssh://root@hv2
      virtvet check site.yaml --inventory lab.yaml --area cpu --guest 'web*'
      virtvet check site.yaml --inventory lab.yaml --fix=plan
      virtvet check site.yaml -H ssh://root@hv1 --from hv1.json.gz

    What follows `--` goes to pytest as it is.
    """
    selected = [f"--profile={profile}"] if profile else []
    selected += ["-k", keyword] if keyword else []
    shown = ["--collect-only", "-q"] if list_only else ["-qq", *(["--lines"] if verbose else [])]
    argv = [*_pytest(), *selected, *_as_flags(options), *shown, *QUIET, *pytest_args]
    sys.stdout.flush()
    os.execv(sys.executable, argv)  # noqa: S606 - pytest must start in a process of its own to rewrite assertions


QUIET = ("-p", "virtvet.judging", "-o", "console_output_style=classic", "--no-header", "--no-summary", "--tb=no")
"""pytest says nothing itself: our progress and summary do."""


def _pytest() -> list[str]:
    """The command line of pytest for our checks: our own settings, whatever pytest.ini the current folder has."""
    checks = catalogue.shipped_dir()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virtvet"
    settings = str(HERE / "checks.ini")
    return [
        *(sys.executable, "-m", "pytest", str(checks), "-c", settings, f"--rootdir={checks.parent}"),
        *("-o", f"cache_dir={cache}"),
    ]


def _as_flags(options: dict[str, object]) -> Iterator[str]:
    """Our options are the plugin's, by the same names."""
    for name, value in options.items():
        flag = "-H" if name == "host" else f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, tuple) else [value]:
            if one is True:
                yield flag
            elif one is not None and one is not False:
                yield f"{flag}={one}"


def _mebibytes(_context: object, _param: object, written: str) -> int:
    """As profiles write sizes. Raises click.BadParameter."""
    from virtvet.units import parse_size

    try:
        size = parse_size(written)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if size < 256 << 20:
        raise click.BadParameter("a hypervisor needs more: give it at least 256 MiB")
    return size >> 20


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@main.command(epilog=EXIT_CODES)
@click.argument("disk", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    required=True,
    metavar="P",
    help="what it must be: a YAML file or the name of a shipped profile",
    shell_complete=_profiles,
)
@_many("area", "AREA", "only this area", shell_complete=_areas)
@_many("control", "ID", "only this control id or pattern", shell_complete=_controls)
@click.option(
    "--iommu",
    type=click.Choice(["intel", "amd", "none"]),
    default="intel",
    show_default=True,
    help="the IOMMU it finds",
)
@click.option("--memory", default="2 GiB", show_default=True, metavar="SIZE", callback=_mebibytes, help="its memory")
@click.option("--cpus", type=click.IntRange(1, 255), help="[default: 2 under KVM, 1 under TCG]")
@click.option(
    "--bus",
    type=click.Choice(["virtio", "sata", "nvme"]),
    default="virtio",
    show_default=True,
    help="what its disk is attached to",
)
@click.option(
    "--nic", type=click.Choice(["virtio", "e1000e"]), default="virtio", show_default=True, help="its network card"
)
@click.option(
    "--firmware", type=click.Choice(["uefi", "bios"]), help="[default: UEFI if it has an EFI system partition]"
)
@click.option("--accel", type=click.Choice(["kvm", "tcg"]), help="[default: KVM if it works here, which is tried]")
@click.option("--direct-kernel", type=_FILE, metavar="KERNEL", help="start this kernel instead of its boot loader")
@click.option("--initrd", type=_FILE, metavar="FILE", help="with --direct-kernel")
@click.option("--append", metavar="WORDS", help="with --direct-kernel: its command line (root=… console=ttyS0)")
@_many("name", "NAME", "what its certificate must cover  [default: its own hostname]")
@click.option(
    "--pki",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="cacert.pem, clientcert.pem and clientkey.pem of a client it trusts, for TLS handshakes",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    metavar="S",
    help="seconds it may take to boot",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=1),
    default=120,
    show_default=True,
    metavar="S",
    help="seconds it may take to answer everything that is asked",
)
@click.option("--keep", is_flag=True, help="leave it running; says how to log in and how to end it")
@click.option("--reports", type=click.Path(), metavar="DIR", help="where reports go  [default: ./reports]")
@click.option(
    "--save-snapshot", type=click.Path(), metavar="FILE", help="also write what was seen to FILE (.json or .json.gz)"
)
@click.option("-v", "--verbose", is_flag=True, help="a line for every check")
def image(disk: Path, profile: str, verbose: bool, **options: Any) -> None:
    """Boot a hypervisor image in a throw-away machine and check it: a gate for CI.

    \b
    Examples:
      virtvet image hypervisor.qcow2 --profile hypervisor-image
      virtvet image hypervisor.raw --profile site.yaml --iommu amd --memory '4 GiB'
      virtvet image root.raw --profile site.yaml --direct-kernel vmlinuz \\
          --initrd initrd.img --append 'root=/dev/vda console=ttyS0'

    DISK is a raw or qcow2 image of a Linux with systemd 252 or later, or with cloud-init. It is never written: what the
    machine writes goes to a temporary overlay. It needs no preparation but a network card that comes up by DHCP and
    sshd; root's key is made for this run and handed in from outside (systemd's credentials, cloud-init's NoCloud).

    The machine is QEMU's q35 with an emulated IOMMU, under KVM if that works here, else under TCG. It reaches no
    network, and only this machine reaches it. When the checks have ended, or at Ctrl-C, it is gone.
    """
    from virtvet.image import gate
    from virtvet.image.machine import DirectKernel
    from virtvet.image.progress import Progress

    direct, initrd, append = (options.pop(name) for name in ("direct_kernel", "initrd", "append"))
    if direct is None and (initrd or append):
        raise click.UsageError("--initrd and --append go with --direct-kernel")
    if direct and options["firmware"] == "uefi":
        raise click.UsageError("--direct-kernel starts without the image's boot loader, and so without UEFI")
    shown = {name: options.pop(name) for name in ("area", "control", "reports", "save_snapshot", "deadline")}

    def checking(inventory: Path, facts: Path, recorded: Path | None) -> list[str]:
        flags = {**shown, "profile": profile, "inventory": inventory, "image_facts": facts, "from": recorded}
        return [*_pytest(), *_as_flags(flags), "-qq", *(["--lines"] if verbose else []), *QUIET]

    order = gate.Order(
        image=disk,
        profile=profile,
        checking=checking,
        names=options.pop("name"),
        direct=DirectKernel(direct, initrd, append or "console=ttyS0") if direct else None,
        **options,
    )
    sys.exit(gate.run(order, Progress(sys.stderr)))


@main.command()
@click.option(
    "--area", "areas", multiple=True, metavar="AREA", help="only this area; repeatable", shell_complete=_areas
)
@click.option("--long", "long", is_flag=True, help="with rationale, hint, remedy and references")
def controls(areas: tuple[str, ...], long: bool) -> None:
    """List what can be checked, how bad a departure is, and on which layers."""
    checks = [one for one in catalogue.shipped() if not areas or one.control.area in areas]
    if not checks:
        raise click.UsageError(f"no control in area {', '.join(areas)}")
    (_print_long if long else _print_table)(checks)


def _print_table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "control", "area", "severity", "layers", "what must hold", box=None, header_style="bold", pad_edge=False
    )
    for one in checks:
        control = one.control
        table.add_row(control.id, control.area, control.severity, " ".join(one.layers), escape(control.title))
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(table)


def _print_long(checks: list[Check]) -> None:
    for one in checks:
        control = one.control
        click.echo(f"{control.id}  {control.title}")
        click.echo(f"  {control.area}, {control.severity}, {control.requirement}; layers: {' '.join(one.layers)}")
        click.echo(f"  why: {control.rationale}")
        click.echo(f"  hint: {control.hint}")
        if one.exercise:
            click.echo(f"  --exercise: {one.exercise.title}")
        if one.remedy:
            click.echo(f"  --fix: {one.remedy.title} ({one.remedy.risk})")
        for reference in control.references:
            click.echo(f"  see: {reference}")
        click.echo()


@main.command()
def profiles() -> None:
    """List the shipped profiles."""
    from virtvet.profile.load import list_shipped

    for name, title in list_shipped():
        click.echo(f"{name:20} {title}")


@main.command()
@click.argument("run")
@click.option(
    "--reports",
    type=click.Path(),
    metavar="DIR",
    default="reports",
    show_default=True,
    help="where the run's reports are",
)
@click.option(
    "--inventory",
    type=click.Path(),
    metavar="FILE",
    help="reach the hosts by this inventory instead of the one the run used",
)
def undo(run: str, reports: str, inventory: str | None) -> None:
    """Undo what a run with --fix changed. RUN is an id, a folder, or "latest"."""
    from virtvet.inventory import load_inventory
    from virtvet.remedies import reach
    from virtvet.remedies.journal import read as read_journal
    from virtvet.remedies.undo import find_journal
    from virtvet.remedies.undo import undo as take_back_all
    from virtvet.snapshot.connections import Connections

    journal = find_journal(run, Path(reports))
    known = load_inventory(Path(inventory)) if inventory else reach.inventory(read_journal(journal)[0].reach)
    with Connections() as connections:
        for access in known.hosts.values():
            connections.know(access)
        taken_back = take_back_all(journal, connections)
    for one in taken_back:
        click.echo(f"undone: {one.title}" if not one.trouble else f"NOT undone: {one.title}: {one.trouble}")
    if not taken_back:
        click.echo("nothing to undo")
    if any(one.trouble for one in taken_back):
        sys.exit(ExitCode.FAILED)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the line that turns on completion in SHELL: for ~/.bashrc, ~/.zshrc or config.fish."""
    line = f"_VIRTVET_COMPLETE={shell}_source virtvet"
    click.echo(f'eval "$({line})"' if shell != "fish" else f"{line} | source")
