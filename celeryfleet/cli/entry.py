"""The way in: answers `health` and `status` itself in a few milliseconds, and leaves everything else to main.

Nothing heavy may be imported here: probes call `health` every few seconds.
"""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper

from celeryfleet.errors import Exit, FleetError

#: environment variable that names the fleet.yaml, as -f does
FILE_VARIABLE = "CELERYFLEET_FILE"


def main() -> None:
    """Run a command and exit with its code."""
    _settle_streams()
    try:
        code = _lean(sys.argv[1:])
        if code is None:
            from celeryfleet.cli import ahead

            ahead.prepare(sys.argv[1:], os.path.exists(_link("") or ""))
            from celeryfleet.cli.main import run

            code = run(sys.argv[1:])
        sys.stdout.flush()
    except FleetError as error:
        complain(error)
        code = int(error.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone, as in `celeryfleet logs | head`
        code = 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written can't be
        complain(FleetError(f"nothing more can be written: {error.strerror}."))
        code = int(Exit.FAILURE)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _settle_streams() -> None:
    """Have all three streams, though the caller has closed some, and write to terminals that know no ●."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order each gets its own descriptor, before a socket takes it
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def complain(error: FleetError) -> None:
    """Show what is wrong on stderr, a problem a line."""
    from celeryfleet.render.paint import RED, has_colour, paint

    sign = paint("error:", RED, has_colour(sys.stderr))
    for problem in error.problems:
        place = f"{problem.where}: " if problem.where else ""
        code = f" [{problem.code}]" if problem.code else ""
        print(f"{sign} {place}{problem.what}{code}", file=sys.stderr)
        for line in problem.hint.splitlines():
            print(f"  {line}", file=sys.stderr)


def _lean(argv: list[str]) -> int | None:
    """Answer a plain `health`, `status` or `ps` of a running fleet; None: it takes more than that."""
    file = os.environ.get(FILE_VARIABLE, "")
    if len(argv) >= 3 and argv[0] in ("-f", "--file"):
        file, argv = argv[1], argv[2:]
    if not argv or argv[0] not in ("health", "status", "ps"):
        return None
    command, words = argv[0], argv[1:]
    as_json = command != "health" and words == ["--json"]
    if words and not as_json and not (command == "health" and len(words) == 1 and words[0][0] != "-"):
        return None
    link = _link(file)
    if link is None:
        return None
    from celeryfleet.supervise.control_client import Client, NotRunningError

    try:
        client = Client(os.readlink(link), timeout=5.0)
    except (OSError, NotRunningError):
        return None  # it is down, which main can say with the names from fleet.yaml
    with client:
        return _health(client, words[0] if words else "") if command == "health" else _status(client, command, as_json)


def _link(file: str) -> str | None:
    """Find the link to the control socket beside fleet.yaml, here or in a folder above."""
    if file:
        folder, name = os.path.split(os.path.abspath(file))
        return f"{folder}/.celeryfleet/{name}.sock"
    folder = os.getcwd()
    while True:
        if os.path.exists(f"{folder}/fleet.yaml"):
            return f"{folder}/.celeryfleet/fleet.yaml.sock"
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _health(client: object, pool: str) -> int:
    from celeryfleet.cli.lean import health

    ready, text = health(client, pool)
    print(text, file=sys.stdout if ready else sys.stderr)
    return int(Exit.OK if ready else Exit.NOT_READY)


def _status(client: object, command: str, as_json: bool) -> int:
    from celeryfleet.cli.lean import show_status

    return show_status(client, command, as_json)
