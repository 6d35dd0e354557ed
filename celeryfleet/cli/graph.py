"""The command that draws the topology: routes, exchanges, queues and pools."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import listed

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.render.graph.live import Live
    from celeryfleet.render.graph.topology import Topology

PANEL = "Write and check fleet.yaml"


class Form(StrEnum):
    """How the topology is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


#: what the end of a file's name says of the form
_BY_SUFFIX = {
    ".txt": Form.TEXT,
    ".mmd": Form.MERMAID,
    ".mermaid": Form.MERMAID,
    ".dot": Form.DOT,
    ".gv": Form.DOT,
    ".svg": Form.SVG,
}
#: numbers of an ANSI sequence, by the style of a span
_PAINT = {
    "": "",
    "strong": "1",
    "faint": "2",
    "well": "32",
    "late": "33",
    "bad": "31",
    "line-1": "36",
    "line-2": "35",
    "line-3": "34",
}
#: what a terminal must know for lines to be drawn with
_LINES = "─│▶★×"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL)(graph)


def graph(
    context: typer.Context,
    form: Annotated[
        Form | None, typer.Option("--format", help="How to draw it; default: text, or what FILE ends with.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="With the numbers of the running fleet.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file that does not exist yet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Draw the topology: which tasks go to which queues, and which pools read them.

    Examples: [bold]celeryfleet graph[/] · [bold]celeryfleet graph --live[/] · [bold]celeryfleet graph -o fleet.svg[/]
    """
    from celeryfleet.render.graph.survey import survey

    if as_json and form:
        raise FleetError("--json and --format exclude each other.", hint="--json is a format of its own.")
    if output:
        _refuse(output)
    form = form or _meant(output, as_json)
    session = context.obj
    topology = survey(session.fleet, session.plan)
    found = _live(session) if live else None
    if as_json:
        from celeryfleet.render.graph.document import document

        _put(json.dumps(document(topology, found), indent=2) + "\n", output)
        return Exit.OK
    if form is Form.TEXT:
        _text(topology, found, output)
    else:
        _put(_drawn(form, topology, found), output)
    return Exit.OK


def _meant(output: Path | None, as_json: bool) -> Form:
    """Return the form that a file's name asks for. Raises FleetError for an ending that stands for none."""
    suffix = output.suffix.lower() if output and not as_json else ""
    if suffix and suffix not in _BY_SUFFIX:
        hint = f"It can be {listed(_BY_SUFFIX, 'or')}; --format says the form whatever the name, and --json is JSON."
        raise FleetError(f'{output}: no form of drawing ends with "{suffix}".', hint=hint)
    return _BY_SUFFIX.get(suffix, Form.TEXT)


def _drawn(form: Form, topology: Topology, live: Live | None) -> str:
    match form:
        case Form.MERMAID:
            from celeryfleet.render.graph.mermaid import mermaid

            return mermaid(topology, live)
        case Form.DOT:
            from celeryfleet.render.graph.dot import dot

            return dot(topology, live)
        case _:
            from celeryfleet.render.graph.svg import svg

            return svg(topology, live)


def _live(session: Session) -> Live:
    """Ask the running fleet; one that is down is drawn as such."""
    from celeryfleet.cli.insight import found
    from celeryfleet.render.graph.live import live

    report = found(session)
    if report["state"] == "down":
        print(f"{report['fleet']} is down, and drawn as such. Start it: celeryfleet up -d --wait", file=sys.stderr)
    elif report["broker"]["trouble"]:
        print(f"The broker cannot be reached: {report['broker']['trouble']}.", file=sys.stderr)
    return live(report)


# --- Where it goes ----------------------------------------------------------------------------------------


def _text(topology: Topology, live: Live | None, output: Path | None) -> None:
    from celeryfleet.render.graph.terminal import draw, plain
    from celeryfleet.render.grid import paint
    from celeryfleet.render.tables import screen

    if output:
        _put(plain(draw(topology, live)), output)
        return
    color, width = screen(sys.stdout, os.environ)
    lines = draw(topology, live, width, not _draws_lines(sys.stdout))
    print("".join("".join(paint(text, _PAINT[style], color) for text, style in line) + "\n" for line in lines), end="")


def _draws_lines(stream: TextIO) -> bool:
    """Tell whether a stream's encoding has the characters that lines are drawn with."""
    try:
        _LINES.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _refuse(output: Path) -> None:
    """A file that exists may be somebody's work."""
    if output.exists():
        what = f"{output} exists already, and is never overwritten."
        raise FleetError(what, hint=f"Remove it, or write over it yourself: celeryfleet graph … > {output}")


def _put(text: str, output: Path | None) -> None:
    """Write a document as UTF-8, whatever the terminal takes."""
    if output is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse(output)
    except OSError as error:
        raise FleetError(f"{output} cannot be written: {error.strerror}.", code=Exit.FAILURE) from None
    print(f"wrote {output}", file=sys.stderr)
