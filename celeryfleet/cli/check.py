"""The command that validates and lints fleet.yaml."""

from __future__ import annotations

import os
import shutil
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from celeryfleet.cli.output import say_json
from celeryfleet.cli.usage import one_of
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.examine import Verdict


class Form(StrEnum):
    """How `check` writes what it finds."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


def check(
    context: typer.Context,
    form: Annotated[
        Form | None, typer.Option("--format", help="github: annotations in a pull request.", **one_of(Form, "format"))
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, as --format json.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there is a warning.")] = False,
    explain: Annotated[
        str | None, typer.Option("--explain", metavar="CODE", help="Print the page of a finding, such as CF010.")
    ] = None,
) -> int:
    """Validate fleet.yaml and the app, and say what will not do what it seems to.

    Exit code 2 on an error, 1 on a warning with --strict. A finding is silenced by a comment on its line:
    # celeryfleet: ignore\\[CF010] and the reason.

    Examples: [bold]celeryfleet check --strict[/] · [bold]celeryfleet check --explain CF010[/]
    """
    from celeryfleet.cli.examine import examine
    from celeryfleet.lint import Level

    if explain is not None:
        say(page(explain).rstrip("\n"))
        return Exit.OK
    if as_json and form not in (None, Form.JSON):
        raise FleetError(f"--json and --format {form} exclude each other.")
    verdict = examine(context.obj)
    _write(verdict, Form.JSON if as_json else form or Form.TEXT)
    levels = {finding.level for finding in verdict.told}
    if Level.ERROR in levels:
        return Exit.USAGE
    return Exit.FAILURE if strict and Level.WARNING in levels else Exit.OK


def page(word: str) -> str:
    """Return the page of a finding, by its code or name. Raises FleetError."""
    from importlib.resources import files

    from celeryfleet.fleetfile.suggest import did_you_mean
    from celeryfleet.lint.registry import CODES, named

    rule = named(word)
    if rule is None:
        names = [*CODES, *(known.name for known in CODES.values())]
        hint = did_you_mean(word, names) or f"The codes go from {min(CODES)} to {max(CODES)}."
        raise FleetError(f'there is no finding "{word}".', hint=hint)
    return (files("celeryfleet.lint") / "pages" / f"{rule.code}.md").read_text("utf-8")


def _write(verdict: Verdict, form: Form) -> None:
    from celeryfleet.lint import Level
    from celeryfleet.render import findings
    from celeryfleet.render.paint import has_colour

    if verdict.note:
        say(verdict.note, sys.stderr)
    match form:
        case Form.JSON:
            fleet = verdict.plan.fleet if verdict.plan is not None else None
            say_json(findings.as_json(fleet, verdict.told, verdict.silenced))
        case Form.GITHUB:
            for found in verdict.told:
                say(findings.as_github(found, os.environ))
            say(_summary(verdict), sys.stderr)
        case Form.TEXT:
            for found in verdict.told:
                stream = sys.stderr if found.level is Level.ERROR else sys.stdout
                say(findings.as_text(found, has_colour(stream), _width(stream)), file=stream)
            sys.stdout.flush()  # what is found stands before what is said of it
            say(_summary(verdict), sys.stderr)


def _width(stream: TextIO) -> int | None:
    """Return a terminal's width; elsewhere a finding stays on one line, for grep."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def _summary(verdict: Verdict) -> str:
    """Say in a line what was looked at and what came of it."""
    from celeryfleet.lint import Level
    from celeryfleet.text import counted

    counts = [(level, sum(found.level is level for found in verdict.told)) for level in Level]
    said = [
        counted(count, "note" if level is Level.INFO else str(level))
        for level, count in counts
        if count or level is Level.WARNING
    ]
    said += [f"{len(verdict.silenced)} ignored"] if verdict.silenced else []
    outcome = ", ".join(said)
    plan = verdict.plan
    if plan is not None:
        sizes = [(len(plan.pools), "pool"), (len(plan.queues), "queue"), (verdict.routes, "route")]
        sizes += [(verdict.tasks, "task")] if verdict.tasks is not None else []
        outcome = f"{plan.fleet}: {', '.join(counted(n, noun) for n, noun in sizes)}: {outcome}"
    worst = verdict.told[0].code if verdict.told else ""
    return f"{outcome}. `celeryfleet check --explain {worst}` says more." if worst else f"{outcome}."
