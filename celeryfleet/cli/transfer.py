"""The commands that carry a fleet to and from other tools: import."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted, say

if TYPE_CHECKING:
    from celeryfleet.importers.document import Result

PANEL = "Write and check fleet.yaml"
_STDIN = "-"


class Format(StrEnum):
    """What `import` reads."""

    COMPOSE = "compose"
    PROCFILE = "procfile"
    SUPERVISORD = "supervisord"
    MULTI = "multi"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL, name="import")(import_)


def import_(
    context: typer.Context,
    kind: Annotated[
        Format, typer.Argument(help="What the file is; multi: a script with `celery multi`, or celeryd's.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to read; - for standard input.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there; an existing file stays.")
    ] = None,
    app: Annotated[
        str, typer.Option("--app", metavar="APP", help="Take the workers of this app only, or name it if none does.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Make a fleet.yaml of what a team has today.

    It says in comments what it took from where, and at its end what it could not take.

    Examples: [bold]celeryfleet import compose docker-compose.yml[/] · [bold]celeryfleet import procfile Procfile -o
    fleet.yaml[/] · [bold]docker compose config | celeryfleet import compose -[/]
    """
    from celeryfleet.fleetfile.load import read_env_files
    from celeryfleet.importers.document import Ask
    from celeryfleet.importers.formats import convert

    if output is not None and output.exists():
        raise FleetError(f"{output} exists, and import never overwrites.", hint=f"Name another file, or move {output}.")
    shown = "<stdin>" if file == _STDIN else file
    text = _text(file, shown)
    folder = Path.cwd() if file == _STDIN else Path(file).parent

    def exists(path: str) -> bool:
        return (folder / path).is_file()

    result = convert(text, Ask(kind.value, shown, app, read_env_files(context.obj.env_files), exists))
    if output is not None:
        _write(output, result.text)
    if as_json:
        say(json.dumps(_document(result, output), indent=2, ensure_ascii=False))
    elif output is None:
        say(result.text, end="")
    _narrate(result, shown, output)
    return Exit.OK


def _text(file: str, shown: str) -> str:
    from celeryfleet.fleetfile.load import read_text
    from celeryfleet.fleetfile.parser import LIMIT, decoded

    data = sys.stdin.buffer.read(LIMIT + 1) if file == _STDIN else b""
    text = decoded(data, shown) if file == _STDIN else read_text(Path(file), shown)
    if "\0" in text or len(data) > LIMIT:
        what = "the file is no text." if "\0" in text else f"the file is larger than {LIMIT // 1024} KiB."
        raise FleetError(what, shown, "Is it the right file?")
    return text.replace("\r\n", "\n")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}.") from error


def _document(result: Result, output: Path | None) -> dict[str, object]:
    return {
        "schema_version": 1,
        "files": [{"name": "fleet.yaml", "path": None if output is None else str(output), "text": result.text}],
        "pools": [{"name": name, "from": list(workers)} for name, workers in result.pools.items()],
        "notes": [
            {"kind": str(note.fate), "where": note.where, "who": note.who, "what": note.what} for note in result.notes
        ],
    }


def _narrate(result: Result, shown: str, output: Path | None) -> None:
    """Say what was made, and what a fleet lacks, on stderr."""
    from celeryfleet.importers.found import Fate, grouped

    lost = list(grouped(result.notes, Fate.LOST))
    if output is not None or not sys.stdout.isatty():  # on a terminal they stand at the end of what was just printed
        for sentence in lost:
            say(f"not taken: {sentence}", sys.stderr)
    pools = counted(len(result.pools), "pool")
    say(f"{shown}: {pools} ({', '.join(result.pools)}); not taken: {len(lost)}", sys.stderr)
    if output is not None:
        say(f"wrote {output}. Now: celeryfleet -f {output} check", sys.stderr)
