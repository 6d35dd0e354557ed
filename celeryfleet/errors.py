"""What can go wrong, as a value that says what, where and what to do next, and the exit codes; imports nothing."""

from __future__ import annotations

from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILURE = 1  #: a task failed, or a warning with --strict
    USAGE = 2  #: the command line or fleet.yaml is wrong
    NOT_READY = 3  #: something wanted is not running or not ready
    BROKER = 69  #: the broker cannot be reached
    TIMEOUT = 124  #: a wait timed out


class Problem:
    """One thing that is wrong: what, where (`file:line:column`, or empty), and what to do next."""

    # A plain class: `dataclasses` takes 6 ms to import, a tenth of what `health` may take.
    __slots__ = ("code", "hint", "what", "where")

    def __init__(self, what: str, where: str = "", hint: str = "", code: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        #: of the page that explains it (`check --explain`), such as CF001; empty: it has none of its own
        self.code = code

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} {self.hint}" if self.hint else text

    def __repr__(self) -> str:
        return f"Problem({self.what!r}, {self.where!r}, {self.hint!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class FleetError(Exception):
    """Something that the user can correct; shown without a traceback, and ends the command with `code`."""

    def __init__(self, what: str, where: str = "", hint: str = "", code: Exit = Exit.USAGE) -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, hint),)
        self.code = code
        super().__init__(str(self))

    @classmethod
    def of(cls, problems: Iterable[Problem], code: Exit = Exit.USAGE) -> FleetError:
        """Make one error of several problems, kept in their order."""
        listed = tuple(problems)
        error = cls(listed[0].what, listed[0].where, listed[0].hint, code)
        error.problems = listed
        error.args = (str(error),)
        return error

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
