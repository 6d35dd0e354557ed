"""Why no fleet.yaml is made of a file."""

from __future__ import annotations

from collections.abc import Sequence

from celeryfleet.errors import FleetError, Problem
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.importers.found import Note, Program, Reading
from celeryfleet.importers.workers import shown
from celeryfleet.text import counted


def check_skipped(reading: Reading, skip: Sequence[str], file: str) -> None:
    """Raise FleetError where a name to skip is that of no program."""
    names = {program.name for program in reading.programs}
    for name in skip:
        if name not in names:
            raise FleetError(f"--skip {name}: there is none of that name.", file, did_you_mean(name, names))


def unclear(notes: Sequence[Note], workers: int) -> FleetError:
    """Refuse to make a part as if it were the whole."""
    problems = [Problem(f"{note.who}: {note.what}.".removeprefix(": "), note.where, "") for note in notes]
    names = " ".join(f"--skip {name}" for name in dict.fromkeys(note.who for note in notes if note.who))
    hint = "Give the script that it runs to `celeryfleet import multi SCRIPT`, or write the pool by hand"
    hint += f"; `{names}` leaves it out" if names else ""
    hint += f" and takes the others, {counted(workers, 'worker')}." if workers and names else "."
    problems[-1].hint = hint
    return FleetError.of(problems)


def no_worker(reading: Reading, file: str, notes: Sequence[Note]) -> FleetError:
    """Say what was looked at, and found to start no worker."""
    seen = [f"{program.where} {program.name}: {_first(program)}" for program in reading.programs]
    hint = "Looked for `celery … worker` and `celery multi start` in its commands"
    hint += ", which are:\n" + "\n".join(seen[:20]) if seen else ", but it has none."
    hint += "\n…" if len(seen) > 20 else ""
    hint += "".join(f"\n{note}" for note in notes)
    if any(".sh" in line or "celery" in line.lower() for line in seen):
        hint += "\nWhat starts in a script is in that script: `celeryfleet import multi SCRIPT` reads it."
    return FleetError("no Celery worker was found.", file, hint)


def _first(program: Program) -> str:
    return shown(program.words[2:] if program.words[:2] == ("sh", "-c") else program.words) or "no command"
