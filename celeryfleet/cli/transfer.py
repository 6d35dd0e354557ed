"""The commands that carry a fleet to and from other tools: import."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.asking import home_of, told_by
from celeryfleet.cli.usage import AsJson, one_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import counted, say

if TYPE_CHECKING:
    from celeryfleet.importers.document import Result

_STDIN = "-"
_SEVERAL = "For the routes of one, and its workers: --app"


class Format(StrEnum):
    """What `import` reads."""

    COMPOSE = "compose"
    PROCFILE = "procfile"
    SUPERVISORD = "supervisord"
    MULTI = "multi"
    SYSTEMD = "systemd"
    K8S = "k8s"


def import_(
    context: typer.Context,
    kind: Annotated[
        Format,
        typer.Argument(
            help="What the file is; multi: a shell script, or celeryd's; k8s: manifests.", **one_of(Format, "format")
        ),
    ],
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="The files to read; - for standard input.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there; an existing file stays.")
    ] = None,
    app: Annotated[
        str, typer.Option("--app", metavar="APP", help="Take the workers of this app only, or name it if none does.")
    ] = "",
    with_app: Annotated[
        bool | None,
        typer.Option(
            "--with-app/--without-app",
            help="Import the app for its routes, queues and broker, or leave it alone. Default: if it can be imported.",
        ),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="NAME", help="Leave this service, process or program out.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make a fleet.yaml of what a team has today.

    It says in comments what it took from where, and at its end what it could not take. The app is imported, in a
    process of its own, since its routes, and often its broker, are nowhere else.

    Examples: [bold]celeryfleet import compose docker-compose.yml[/] · [bold]celeryfleet import procfile Procfile -o
    fleet.yaml[/] · [bold]helm template shop ./chart | celeryfleet import k8s -[/]
    """
    from celeryfleet.fleetfile.load import read_env_files
    from celeryfleet.importers.document import Ask
    from celeryfleet.importers.formats import convert_all

    if output is not None and output.exists():
        raise FleetError(f"{output} exists, and import never overwrites.", hint=f"Name another file, or move {output}.")
    named = [one for file in files for one in (_wanted(file) if kind is Format.SYSTEMD else [file])]
    texts = {"<stdin>" if file == _STDIN else file: _text(file) for file in named}
    shown = next(iter(texts))
    folder = Path.cwd() if files[0] == _STDIN else Path(files[0]).parent

    def exists(path: str) -> bool:
        return (folder / path).is_file()

    def read(path: str) -> str | None:
        return _script(folder / path)

    known = read_env_files(context.obj.env_files)
    ask = Ask(kind.value, shown, app, known, exists, read=read, skip=tuple(skip or ()))
    result = convert_all(texts, ask)
    if with_app is not False and not result.app:
        if with_app:
            raise FleetError("not supported: --with-app with several apps.", hint=_SEVERAL)
        say(f"no app was asked: there are several. {_SEVERAL}", sys.stderr)
    elif with_app is not False:
        home = home_of(result.app, folder)
        beside = read_env_files([folder / path for path in result.env_files])
        known = {**beside, **ask.known, **result.env}
        with _settings(kind, texts.values()) as settings:
            told, reason = told_by(result.app, result.django, home, known | settings)
        if told is not None:
            result = convert_all(texts, replace(ask, told=told))
            if home != folder:
                say(f"the app is imported from {home}: fleet.yaml belongs there", sys.stderr)
        elif with_app:
            raise FleetError(reason, hint="Without it: --without-app", code=Exit.FAILURE)
        else:
            say(f"the app was not asked: {reason}", sys.stderr)
    if output is not None:
        _write(output, result.text)
    if as_json:
        say(json.dumps(_document(result, output), indent=2, ensure_ascii=False))
    elif output is None:
        say(result.text, end="")
    _narrate(result, shown, output)
    return Exit.OK


@contextmanager
def _settings(kind: Format, texts: Iterable[str]) -> Iterator[dict[str, str]]:
    """Lay out the settings that an exported file holds in itself; give the variable that names them."""
    from celeryfleet.app import SETTINGS_VARIABLE
    from celeryfleet.importers.exported import settings

    found = next(filter(None, map(settings, texts)), "") if kind in (Format.COMPOSE, Format.K8S) else ""
    if not found:
        yield {}
        return
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(found.replace("$$", "$") if kind is Format.COMPOSE else found)
        file.flush()
        yield {SETTINGS_VARIABLE: file.name}


def _wanted(file: str) -> list[str]:
    """Name the services that a target wants, which lie beside it; another file is meant itself."""
    wants = re.findall(r"^Wants=(.*)$", _text(file), re.MULTILINE) if file.endswith(".target") else []
    units = [unit for line in wants for unit in line.split() if unit.endswith(".service")]
    return [str(Path(file).with_name(unit)) for unit in units] or [file]


def _text(file: str) -> str:
    from celeryfleet.fleetfile.load import read_text
    from celeryfleet.fleetfile.parser import LIMIT, decoded

    shown = "<stdin>" if file == _STDIN else file
    data = sys.stdin.buffer.read(LIMIT + 1) if file == _STDIN else b""
    path = Path(file)
    if not path.exists() and "@" in path.name:  # an instance of a template, as systemd names it
        path = path.with_name(f"{path.name.partition('@')[0]}@{path.suffix}")
    text = decoded(data, shown) if file == _STDIN else read_text(path if path.exists() else Path(file), shown)
    if "\0" in text or len(data) > LIMIT:
        what = "the file is no text." if "\0" in text else f"the file is larger than {LIMIT // 1024} KiB."
        raise FleetError(what, shown, "Is it the right file?")
    return text.replace("\r\n", "\n")


def _script(path: Path) -> str | None:
    """Read a file that another one names; None where there is none, or it is no text."""
    from celeryfleet.fleetfile.load import read_text

    try:
        text = read_text(path, str(path)) if path.is_file() else "\0"
    except (FleetError, OSError, ValueError):
        return None
    return None if "\0" in text else text.replace("\r\n", "\n")


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
