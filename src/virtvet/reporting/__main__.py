"""`python -m virtvet.reporting RUN.json DIRECTORY`: every report of a run again, from its run.json alone."""

from __future__ import annotations

from pathlib import Path

import click

from virtvet.errors import BadInput
from virtvet.reporting.run import load_run
from virtvet.reporting.write import render


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True))
def main(run: Path, directory: Path) -> None:
    """Write junit.xml, report.html and run.json of the run RUN into DIRECTORY."""
    try:
        render(load_run(run), directory)
    except BadInput as problem:
        raise click.ClickException(str(problem)) from None


if __name__ == "__main__":
    main()
