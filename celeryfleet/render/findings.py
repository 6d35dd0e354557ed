"""How findings are written: for people, as JSON, and as annotations of GitHub's; asks nobody anything."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celeryfleet.lint import Level
from celeryfleet.render.paint import AMBER, CYAN, RED, paint

if TYPE_CHECKING:
    from celeryfleet.lint import Finding

_COLORS = {Level.ERROR: RED, Level.WARNING: AMBER, Level.INFO: CYAN}
_NOTICES = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "notice"}


def as_text(finding: Finding, color: bool, width: int | None) -> str:
    """Write a finding as errors are written, what comes and then what to do; `width` None: one line each."""
    place = f"{finding.where}: " if finding.where else ""
    sign = f"{finding.level}:"
    first, *others = _filled(f"{sign} {place}{finding.what} [{finding.code}]", width, "")
    first = first.replace(sign, paint(sign, _COLORS[finding.level], color), 1)
    hint = [line for said in finding.hint.splitlines() for line in _filled(said, width, "  ")]
    return "\n".join([first, *others, *hint])


def _filled(text: str, width: int | None, indent: str) -> list[str]:
    if width is None or text.startswith(" "):  # a traceback keeps its shape
        return [indent + text]
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=indent,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ) or [indent]


def as_json(fleet: str | None, told: Sequence[Finding], silenced: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of `check --json`."""
    return {
        "schema_version": 1,
        "fleet": fleet,
        "findings": [_finding(finding) for finding in told],
        "ignored": [_finding(finding) for finding in silenced],
        "counts": {str(level): sum(finding.level is level for finding in told) for level in Level},
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "name": finding.name,
        "level": str(finding.level),
        "where": finding.where,
        "file": finding.file or None,
        "line": finding.line or None,
        "column": finding.column or None,
        "what": finding.what,
        "hint": finding.hint,
        "page": f"docs/checks/{finding.code}.md",
    }


def as_github(finding: Finding, environ: Mapping[str, str]) -> str:
    """Write a finding as a workflow command, by which GitHub shows it beside its line."""
    properties: dict[str, str] = {}
    if finding.file:
        # GitHub counts paths from the root of the repository, and a step may run in a folder below it.
        properties["file"] = os.path.relpath(finding.file, environ.get("GITHUB_WORKSPACE") or os.curdir)
    if finding.line:
        properties |= {"line": str(finding.line), "col": str(finding.column)}
    properties["title"] = f"{finding.code} {finding.name}"
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    text = "\n".join(line for line in (finding.what, finding.hint) if line)
    return f"::{_NOTICES[finding.level]} {said}::{_message(text)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
