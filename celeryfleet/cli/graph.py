"""The command that draws the topology: routes, exchanges, queues and pools."""

from __future__ import annotations

import typer

from celeryfleet.errors import FleetError

PANEL = "Write and check fleet.yaml"


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel=PANEL, hidden=True)(graph)


def graph() -> int:
    """Draw the topology."""
    raise FleetError("not supported yet: graph.")
