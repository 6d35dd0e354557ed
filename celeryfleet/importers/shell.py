"""Follows commands and scripts as a shell would, with what is known, down to the Celery commands; starts nothing.

What is not known stays in the words as `${VAR}`; a condition takes it as not set, and what that decides is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from posixpath import basename, join
from typing import Any, TypeVar

from celeryfleet.importers import nodes, syntax, variables, wrappers
from celeryfleet.importers.expansion import Variables
from celeryfleet.importers.found import Call, Command, Fate, Note, Open, Words
from celeryfleet.importers.nodes import Node, Simple
from celeryfleet.text import listed

_T = TypeVar("_T")
#: commands that are followed, all in all; and scripts within scripts
_MOST, _DEEPEST = 5000, 12
_TESTS = frozenset(("[", "[[", "test"))
_LEAVING = frozenset(("exit", "return", "break", "continue"))
#: loops end after so many rounds
_ROUNDS = 100
#: commands of Celery's that start workers
_STARTS = ("worker", "multi")
#: conditions of loops that start again what has ended
_ENDLESS = tuple(syntax.parse(text) for text in ("true", ":"))


class _LeaveError(Exception):
    """`exit`, `return`, `break` and their like."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass(slots=True)
class Trace:
    """What was met on the way; shared by a shell and those that it starts."""

    commands: list[Command] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: variable → where it was set last
    places: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    #: what the script that ended last had set, and exported
    values: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)

    @property
    def celery(self) -> list[Command]:
        """Return the commands that are Celery's."""
        return [command for command in self.commands if command.call is not None]


@dataclass(slots=True)
class Shell:
    """A shell, or a script that it follows."""

    open: Open
    values: Variables
    trace: Trace
    #: of its commands; a `{}` stands for the line
    where: str
    who: str = ""
    folder: str = ""
    #: of the command that this script is a word of
    prefix: Words = ()
    functions: dict[str, Node] = field(default_factory=dict)
    depth: int = 0

    # --- Commands -----------------------------------------------------------------------------------------

    def begin(self, words: Words) -> None:
        """Follow the command of a program. Raises ValueError."""
        if words:
            with suppress(_LeaveError):
                self.start(words, self.where)

    def start(self, words: Words, where: str, files: Words = ()) -> bool:
        """Follow a command of these words; return whether it succeeds. Raises ValueError."""
        self.trace.steps += 1
        if self.trace.steps > _MOST:
            raise ValueError(f"It takes more than {_MOST:,} steps")
        first = next((index for index, word in enumerate(words) if not wrappers.assigned((word,))), len(words))
        if first == len(words):
            return True
        name, rest = words[first], words[first + 1 :]
        if name in self.functions:
            return self._function(name, rest)
        if name in _LEAVING:
            raise _LeaveError("failure" if name == "exit" and rest not in ((), ("0",)) else name)
        known = _BUILTINS.get(name)
        if known is not None:
            return known(self, (*words[:first], *rest) if known is Shell._exec else rest, where, files) is not False
        return self._program(words, first, where, files)

    def script(self, text: str, where: str, args: Words = (), prefix: Words = ()) -> None:
        """Follow a script in a shell of its own. Raises ValueError."""
        env = self.values.copied(args, wrappers.assigned(prefix))
        inner = self._within(values=env, where=where, prefix=prefix, functions={})
        inner._left(syntax.parse(text))
        self.trace.values, self.trace.exported = inner.values.values, inner.values.exported - self.values.exported

    def _within(self, **changes: Any) -> Shell:
        """Return this shell as a script or a function that it follows has it. Raises ValueError."""
        if self.depth >= _DEEPEST:
            raise ValueError(f"Scripts call one another more than {_DEEPEST} times, or functions do")
        return replace(self, depth=self.depth + 1, **changes)

    def _left(self, node: Node) -> bool:
        """Follow what `exit` and `return` end."""
        try:
            return self.run(node)
        except _LeaveError as left:
            return left.how != "failure"

    def _function(self, name: str, args: Words) -> bool:
        try:
            return self._within(values=self.values.called(args)).run(self.functions[name])
        except _LeaveError as left:
            if left.how != "return":
                raise
        return True

    def _program(self, words: Words, first: int, where: str, files: Words) -> bool:
        """Follow a program: Celery's, a script, or one that starts either."""
        followed = False
        if not wrappers.talks(words[first]):
            for index in range(first, len(words)):
                if call := wrappers.call_at(words, index):
                    self._met(words, where, files, replace(call, prefix=self.prefix + call.prefix))
                    return True
                before = len(self.trace.celery)
                if script := wrappers.script_at(words, index, first, self._read_file):
                    self.script(script.text, script.where or where, script.args, self.prefix + words[:index])
                    followed = followed or index == first or wrappers.fate(basename(words[first])) is not None
                if len(self.trace.celery) > before or (script and wrappers.is_shell(words[index])):
                    return True
        if not followed:
            self._met(words, where, files, None)
        return True

    def _met(self, words: Words, where: str, files: Words, call: Call | None) -> None:
        self.trace.commands.append(Command(words, files, where, call, self.values.environment(), self.folder))

    def _read_file(self, path: str) -> tuple[str, str] | None:
        """Read a script, which is named as this shell names it: how it is shown, and its text."""
        return None if variables.varies(path) else self.open(join(self.folder, path))

    # --- The tree -----------------------------------------------------------------------------------------

    def run(self, node: Node) -> bool:
        """Follow commands; return whether they succeed. Raises ValueError."""
        match node:
            case Simple():
                return self._simple(node)
            case nodes.Sequence(items, joined):
                for option, line in joined:
                    what = f"to the shell a new line is a new command, as at `{option}`"
                    self._note(Fate.CHANGED, f"{what}: it is taken as an option, as was meant", self._at(line))
                done = True
                for item in items:
                    done = self.run(item)
                return done
            case nodes.Either(left, both, right):
                done, doubts = self._judged(partial(self.run, left))
                if done == both:
                    return self.run(right)
                self._not_taken(right, doubts)
                return done
            case nodes.Not(inner):
                return not self.run(inner)
            case nodes.Subshell(inner):
                return replace(self, values=self.values.copied(None, {}))._left(inner)
            case nodes.If():
                return self._if(node)
            case nodes.Case():
                return self._case(node)
            case nodes.For(name, words, body):
                values, unknown = self.values.rounds(words)
                unknown = unknown if len(values) <= _ROUNDS else f"more than {_ROUNDS} values"
                return self._rounds(body, name, values[:_ROUNDS], unknown)
            case nodes.Loop(until, condition, body):
                holds, doubts = self._judged(partial(self.run, condition))
                unknown = "" if condition in _ENDLESS else "a condition"
                return (holds == until and not doubts) or self._rounds(body, "", [""], unknown)
            case nodes.Function(name, body):
                self.functions = {**self.functions, name: body}
                return True

    def _rounds(self, body: Node, name: str, values: Sequence[str], unknown: str) -> bool:
        """Follow the body of a loop once for each of these values of a variable; say so if there may be more."""
        before = len(self.trace.celery)
        try:
            return self._each(body, name, values)
        finally:
            started = [one for one in self.trace.celery[before:] if one.call and one.call.name in _STARTS]
            if unknown and started:
                often = "how often it runs is not told, so workers may be missing"
                self._note(Fate.LOST, f"a loop over {unknown} is followed once: {often}", started[0].where)

    def _each(self, body: Node, name: str, values: Sequence[str]) -> bool:
        for value in values:
            if name:
                self.values.set(name, value)
            try:
                self.run(body)
            except _LeaveError as left:
                if left.how not in ("break", "continue"):
                    raise
                if left.how == "break":
                    break
        return True

    def _simple(self, node: Simple) -> bool:
        where = self._at(node.line)
        first = "".join(part.text for part in node.words[0]) if node.words else ""
        if not node.words or first in syntax.DECLARES:
            words = [word for item in node.words[1:] for word in self.values.fields(item)]
            for name, appends, value in node.assigned:
                self.values.assign(name, value, appends)
                self.trace.places[name] = where
            if first == "export" or "-x" in words:
                self.values.export([name for name, _, _ in node.assigned] + words)
            return True
        if first in _TESTS:
            return self.values.holds([self.values.text(word) for word in node.words])
        before = tuple(
            f"{name}={self.values.text(value)}" for name, _, value in node.assigned if isinstance(value, tuple)
        )
        arguments = tuple(found for word in node.words for found in self.values.fields(word))
        files = tuple(f"{operator} {self.values.text(word)}" for operator, word in node.files)
        return self.start(before + arguments, where, tuple(filter(_is_file, files))) if arguments else True

    # --- Conditions ---------------------------------------------------------------------------------------

    def _judged(self, condition: Callable[[], _T]) -> tuple[_T, list[str]]:
        """Follow a condition; return what it comes to, and what it would have to know."""
        before, self.values.doubts = self.values.doubts, {}
        try:
            return condition(), list(self.values.doubts)
        finally:
            self.values.doubts = before | self.values.doubts

    def _if(self, node: nodes.If) -> bool:
        for index, (condition, body) in enumerate(node.branches):
            holds, doubts = (True, []) if condition is None else self._judged(partial(self.run, condition))
            if holds and not doubts:
                return self.run(body)
            if holds and self._unless_it_gives_up(body):
                for _, other in node.branches[index + 1 :]:
                    self._not_taken(other, doubts)
                return True
            if not holds:
                self._not_taken(body, doubts)
        return True

    def _unless_it_gives_up(self, body: Node) -> bool:
        """Follow a branch that depends on what is not known; go back if it ends the script without starting Celery."""
        before, started = self.values.copied(None, {}), len(self.trace.celery)
        try:
            self.run(body)
        except _LeaveError as left:
            if left.how in ("break", "continue", "return") or len(self.trace.celery) > started:
                raise
            self.values = before
            return False
        return True

    def _case(self, node: nodes.Case) -> bool:
        value, doubts = self._judged(lambda: self.values.resolved(self.values.text(node.word)))
        patterns = [[self.values.text(word) for word in words] for words, _ in node.branches]
        if not value and self.values.asked(node.word):
            literal = (text for texts in patterns for text in texts if not set(text) & set("*?["))
            self.values.choices.update(dict.fromkeys(literal))
        taken = next((i for i, texts in enumerate(patterns) if any(fnmatchcase(value, text) for text in texts)), None)
        for index, (_, body) in enumerate(node.branches):
            if index != taken:
                self._not_taken(body, doubts)
        return True if taken is None else self.run(node.branches[taken][1])

    def _not_taken(self, body: Node, doubts: Sequence[str]) -> None:
        """Say what a branch would have started or set, if it is not known that it is not taken."""
        if not doubts:
            return
        trace = Trace(steps=self.trace.steps)
        other = replace(self, values=self.values.copied(None, {}), trace=trace)
        try:
            other._left(body)
        except ValueError:
            return
        self.trace.steps = trace.steps
        unknown = f"nothing tells what {listed(doubts[:3])} holds, which is taken as not set; `--env-file` may tell"
        for command in trace.celery:
            if command.call is not None and command.call.name in ("worker", "beat", "multi"):
                what = f"`celery {command.call.name}` in a branch that is not taken: {unknown}"
                self._note(Fate.LOST, what, command.where)
        held = {**self.values.values, **self.values.arrays}
        names = [
            name for name, value in {**other.values.values, **other.values.arrays}.items() if held.get(name) != value
        ]
        if names and not trace.celery:
            where = next((trace.places[name] for name in names if name in trace.places), self.where)
            self._note(Fate.CHANGED, f"{listed(names[:3])} is not set here: {unknown}", where.replace(":{}", ""))

    # --- Words of its own ---------------------------------------------------------------------------------

    def _at(self, line: int) -> str:
        return self.where.replace("{}", str(line))

    def _note(self, fate: Fate, what: str, where: str) -> None:
        self.trace.notes.append(Note(fate, where, what, self.who))

    def _exec(self, words: Words, where: str, files: Words) -> None:
        if words:
            self.start(words, where, files)
            raise _LeaveError("exit")

    def _source(self, words: Words, where: str, files: Words) -> None:
        """Follow a script in this shell; one that is not here is passed over."""
        if words and (found := self._read_file(words[0])):
            inner = self._within(where=f"{found[0]}:{{}}")
            inner.run(syntax.parse(found[1]))
            self.functions = inner.functions

    def _eval(self, words: Words, where: str, files: Words) -> bool:
        return self._within(where=where).run(syntax.parse(" ".join(words)))

    def _set(self, words: Words, where: str, files: Words) -> None:
        self.values.exports_all |= "-a" in words or "allexport" in words
        if "--" in words:
            self.values.args = words[words.index("--") + 1 :]

    def _read(self, words: Words, where: str, files: Words) -> None:
        """Forget what these variables held: what comes in is not known."""
        for name in words:
            self.values.values.pop(name, None)

    def _shift(self, words: Words, where: str, files: Words) -> None:
        self.values.args = self.values.args[int(words[0]) if words and words[0].isdecimal() else 1 :]

    def _cd(self, words: Words, where: str, files: Words) -> None:
        if words and words[-1] != "-":
            self.folder = join(self.folder, words[-1])


def _is_file(redirection: str) -> bool:
    """Tell whether a redirection writes a file: not `2>&1`, `> /dev/null` or `< input`."""
    operator, _, target = redirection.partition(" ")
    return ">" in operator and not target.isdecimal() and not target.startswith(("/dev/", "/proc/", "-", "&"))


#: what a shell does itself, and succeeds at unless it returns False
_BUILTINS: Mapping[str, Callable[[Shell, Words, str, Words], object]] = {
    "exec": Shell._exec,
    ".": Shell._source,
    "source": Shell._source,
    "eval": Shell._eval,
    "set": Shell._set,
    "read": Shell._read,
    "shift": Shell._shift,
    "cd": Shell._cd,
    "pushd": Shell._cd,
    "false": lambda shell, words, where, files: False,
    **dict.fromkeys((":", "true", "unset", "wait", "trap"), lambda shell, words, where, files: None),
}
