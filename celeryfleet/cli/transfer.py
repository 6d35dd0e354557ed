"""The commands that carry a fleet to and from other tools: import."""

from __future__ import annotations

import typer

from celeryfleet.errors import FleetError

PANEL = "Write and check fleet.yaml"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL, name="import", hidden=True)(import_)


def import_() -> int:
    """Make a fleet.yaml of what a team has today."""
    raise FleetError("not supported yet: import.")
