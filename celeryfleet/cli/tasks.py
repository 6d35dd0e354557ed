"""Commands that send tasks and look at what became of them: send, canvas, result, tasks, queues."""

from __future__ import annotations

import typer

PANEL = "Send tasks"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
