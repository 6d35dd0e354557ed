"""The command that writes a fleet for another engine: export."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.usage import one_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.export.formats import Format
from celeryfleet.text import counted, listed, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session


def export(
    context: typer.Context,
    kind: Annotated[Format, typer.Argument(help="The engine.", **one_of(Format, "format"))],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Write the files there, not to stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
) -> int:
    """Write the same fleet for another engine: each pool's workers, its settings, and one beat.

    The workers are `celery worker` processes with the settings of fleet.yaml; celeryfleet must be installed there.
    Credentials are not written: what comes from a variable comes from it there, too. On stderr it says what could not
    be carried over.

    Examples: [bold]celeryfleet export compose > compose.yaml[/] · [bold]celeryfleet export systemd -o units[/]
    """
    from celeryfleet import machine
    from celeryfleet.export.formats import engine
    from celeryfleet.export.service import deployment
    from celeryfleet.fleetfile.load import read_env_files

    session: Session = context.obj
    writes = engine(kind)
    facts, celery = machine.facts(session.fleet), str(Path(sys.executable).with_name("celery"))
    own = read_env_files([session.path.parent / name for name in session.fleet.env_file])
    fleet = deployment(session.fleet, facts, session.profiles, writes, celery, own)
    files = writes.files(fleet, str(output.absolute()) if output else "")
    if output is None and len(files.texts) > 1:
        hint = f"Name a folder: celeryfleet export {kind} -o DIR"
        raise FleetError(f"{kind} has several files: {listed(files.texts)}.", hint=hint)
    if output is None:
        say(next(iter(files.texts.values())), end="")
    else:
        _write(output, files.texts, force)
    for note in (*fleet.notes, *files.notes):
        say(f"note: {note}.", sys.stderr)
    if output is not None:
        say(f"wrote {counted(len(files.texts), 'file')} to {output}: {listed(files.texts)}", sys.stderr)
    return Exit.OK


def _write(folder: Path, texts: Mapping[str, str], force: bool) -> None:
    """Write all files, or none where one is there. Raises FleetError."""
    there = [name for name in texts if (folder / name).exists()]
    if there and not force:
        raise FleetError(f"{listed(there)} in {folder} would be overwritten.", hint="With --force it is done.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise FleetError(f"{error.filename} cannot be written: {error.strerror}.") from error
