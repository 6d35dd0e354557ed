"""The way in: answers `health` and `status` itself in a few milliseconds, and leaves everything else to main.

Nothing heavy may be imported here: probes call `health` every few seconds.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from io import TextIOWrapper

from celeryfleet.errors import Exit, FleetError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: environment variable that names the fleet.yaml, as -f does
FILE_VARIABLE = "CELERYFLEET_FILE"
#: set by a shell that asks what can stand next
COMPLETION_VARIABLE = "_CELERYFLEET_COMPLETE"
#: options before the command that take a value
_WITH_VALUE = ("-f", "--file", "--env-file", "--profile")
#: options of `up` that only show something
_SHOWS = {"--dry-run", "--help", "-h"}


def main() -> None:
    """Run a command and exit with its code."""
    _settle_streams()
    if os.getpid() == 1:  # of a container: the kernel ignores what its first process does not handle
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        file, plain, words = _split(sys.argv[1:])
        code = _completed() if COMPLETION_VARIABLE in os.environ else _lean(file, words) if plain else None
        if code is None:
            if words[:1] == ["up"] and not _SHOWS & set(words) and not os.path.exists(_link(_find(file))):
                from celeryfleet.cli import prestart

                prestart.prepare()
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
    sys.excepthook = _show_bug


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write a traceback, which may tell the words of others, as all else."""
    import traceback

    from celeryfleet.text import say

    say("".join(traceback.format_exception(kind, error, trace)), sys.stderr, end="")


def complain(error: FleetError) -> None:
    """Show what is wrong on stderr, a problem a line."""
    from celeryfleet.render.paint import RED, has_colour, paint
    from celeryfleet.text import say

    sign = paint("error:", RED, has_colour(sys.stderr))
    for problem in error.problems:
        place = f"{problem.where}: " if problem.where else ""
        code = f" [{problem.code}]" if problem.code else ""
        say(f"{sign} {place}{problem.what}{code}", sys.stderr)
        for line in problem.hint.splitlines():
            say(f"  {line}", sys.stderr)


def _split(argv: list[str]) -> tuple[str, bool, list[str]]:
    """Return the file that -f names, whether no other option stands before the command, and the words from it on."""
    file, plain, words = os.environ.get(FILE_VARIABLE, ""), True, list(argv)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        value = words.pop(0) if option in _WITH_VALUE and words else ""
        if option in ("-f", "--file"):
            file = value
        else:
            plain = False
    return file, plain, words


def _completed() -> int | None:
    """Tell a shell what can stand next; None: it is another shell, which main may know."""
    from celeryfleet.cli import complete

    shell = os.environ[COMPLETION_VARIABLE].removeprefix("complete_")
    return 0 if complete.answer(shell, lambda file: _find(file or os.environ.get(FILE_VARIABLE, ""))) else None


def _lean(file: str, words: list[str]) -> int | None:
    """Answer a plain `health`, `status` or `ps` of a running fleet; None: it takes more than that."""
    command, rest = words[0] if words else "", words[1:]
    if command == "health":
        understood = len(rest) == 0 or (len(rest) == 1 and rest[0][:1] != "-")
    else:
        understood = command in ("status", "ps") and rest in ([], ["--json"])
    file = _find(file) if understood else ""
    if not file:
        return None
    from celeryfleet import trust
    from celeryfleet.supervise.control_client import Client, NotRunningError

    trust.vet(file)
    try:
        client = Client(os.readlink(_link(file)), timeout=5.0)
    except (OSError, NotRunningError):
        return None  # it is down, which main can say with the names from fleet.yaml
    from celeryfleet.cli.lean import answer

    with client:
        return answer(client, command, rest[0] if rest else "")


def _find(file: str) -> str:
    """Return the absolute path of fleet.yaml: the one named, or one here or in a folder above; empty: there is none."""
    if file:
        return os.path.abspath(file)
    folder = os.getcwd()
    while not os.path.exists(f"{folder}/fleet.yaml"):
        above = os.path.dirname(folder)
        if above == folder:
            return ""
        folder = above
    return f"{folder}/fleet.yaml"


def _link(file: str) -> str:
    """Name the link to the control socket beside fleet.yaml."""
    folder, name = os.path.split(file)
    return f"{folder}/.celeryfleet/{name}.sock"
