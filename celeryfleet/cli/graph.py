"""The command that draws the topology: routes, exchanges, queues and pools."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet.cli.usage import AsJson, one_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import listed, say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.render.graph.topology import Topology


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


def graph(
    context: typer.Context,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="Default: text, or what FILE ends with.", **one_of(Form, "format")),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="With the numbers of the running fleet.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file that does not exist yet.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Draw the topology: which tasks go to which queues, and which pools read them.

    Examples: [bold]celeryfleet graph[/] · [bold]celeryfleet graph --live[/] · [bold]celeryfleet graph -o fleet.svg[/]
    """
    if as_json and form:
        raise FleetError("--json and --format exclude each other.", hint="--json is a format of its own.")
    if output and output.exists():  # it may be somebody's work
        what = f"{output} exists already, and is never overwritten."
        raise FleetError(what, hint=f"Remove it, or write over it yourself: celeryfleet graph … > {output}")
    form = form or _form(output, as_json)
    topology = _topology(context.obj, live)
    if as_json:
        _put(json.dumps(topology.to_json(), indent=2) + "\n", output)
    elif form is Form.TEXT and output is None:
        from celeryfleet.render.graph.drawing import show

        show(topology, sys.stdout)
    else:
        _put(_drawn(form, topology), output)
    return Exit.OK


def _form(output: Path | None, as_json: bool) -> Form:
    """Return the form that a file's name asks for. Raises FleetError for an ending that stands for none."""
    suffix = output.suffix.lower() if output and not as_json else ""
    if suffix and suffix not in _BY_SUFFIX:
        hint = f"It can be {listed(_BY_SUFFIX, 'or')}; --format says the form whatever the name, and --json is JSON."
        raise FleetError(f'{output}: no form of drawing ends with "{suffix}".', hint=hint)
    return _BY_SUFFIX.get(suffix, Form.TEXT)


def _topology(session: Session, live: bool) -> Topology:
    """Survey the fleet, and ask the running one for its numbers; one that is down is drawn as such."""
    from celeryfleet.render.graph.survey import survey, with_numbers

    topology = survey(session.fleet, session.plan)
    if not live:
        return topology
    from celeryfleet.cli.insight import found

    status = found(session)
    if status.state == "down":
        say(f"{status.fleet} is down, and drawn as such. Start it: celeryfleet up -d --wait", sys.stderr)
    elif status.broker.trouble:
        say(f"The broker cannot be reached: {status.broker.trouble}.", sys.stderr)
    return with_numbers(topology, status)


def _drawn(form: Form, topology: Topology) -> str:
    from celeryfleet.render.graph import dot, drawing, mermaid, svg

    match form:
        case Form.MERMAID:
            return mermaid.mermaid(topology)
        case Form.DOT:
            return dot.dot(topology)
        case Form.SVG:
            return svg.svg(topology)
        case Form.TEXT:
            return drawing.as_text(drawing.draw(topology))


def _put(text: str, output: Path | None) -> None:
    """Write a document as UTF-8, whatever the terminal takes."""
    if output is None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        say(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FleetError(f"{output} cannot be written: {error.strerror}.", code=Exit.FAILURE) from None
    say(f"wrote {output}", sys.stderr)
