"""How the outcome of a task or a canvas is shown, and the exit code it ends with."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from celeryfleet.errors import Exit, FleetError

if TYPE_CHECKING:
    from celeryfleet.client.outcome import Failed, Outcome


def narrate(text: str, outcome: Outcome) -> None:
    """Say on stderr how it ended, if it did."""
    if outcome.ready:
        print(f"{'✓' if outcome.state == 'SUCCESS' else '✗'} {text}", file=sys.stderr)


def show(outcome: Outcome, timeout: float | None) -> int:
    """Print a result, or tell why there is none."""
    if outcome.state == "SUCCESS":
        found = outcome.result
        print(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str))
        return Exit.OK
    for failed in outcome.failed:
        _show_failed(failed)
    if outcome.ready:
        return Exit.FAILURE
    raise FleetError(
        f"{outcome.id} was not over after {timeout:g} s ({outcome.state}).",
        hint=f"It goes on; ask again: celeryfleet result {outcome.id}",
        code=Exit.TIMEOUT,
    )


def _show_failed(failed: Failed) -> None:
    print(f"error: {failed.task} ({failed.id}) failed: {failed.error}", file=sys.stderr)
    for line in failed.traceback.rstrip().splitlines():
        print(f"  {line}", file=sys.stderr)


def code(outcome: Outcome) -> int:
    """Return the exit code: 0, 1 for a failure, 124 where it is not over."""
    if outcome.state == "SUCCESS":
        return Exit.OK
    return Exit.FAILURE if outcome.ready else Exit.TIMEOUT
