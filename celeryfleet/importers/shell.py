"""Follows commands and scripts as a shell would, with what is known, down to the Celery commands; starts nothing.

What is not known stays in the words as `${VAR}`; a condition takes it as not set, and what that decides is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from posixpath import basename, join

from celeryfleet.importers import nodes, syntax, variables, wrappers
from celeryfleet.importers.expansion import Variables
from celeryfleet.importers.found import Call, Command, Fate, Note, Open, Words
from celeryfleet.importers.nodes import Node, Simple
from celeryfleet.importers.tokens import Word
from celeryfleet.text import listed

#: commands that are followed, all in all; and scripts within scripts
_MOST, _DEEPEST = 5000, 12
_SHELL = re.compile(r"(ba|da|k|z|a)?sh")
_SCRIPT = re.compile(r"\.(ba|z|k)?sh$")
_SHEBANG = re.compile(r"#!.*sh\b")
_TESTS = frozenset(("[", "[[", "test"))
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
    #: arguments that a script's `case "$1"` knows, where it was given none
    choices: dict[str, None] = field(default_factory=dict)
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
        known = _BUILTINS.get(name)
        if known is not None:
            return known(self, (*words[:first], *rest) if known is Shell._exec else rest, where, files) is not False
        return self._program(words, first, where, files)

    def script(self, text: str, where: str, args: Words = (), prefix: Words = ()) -> None:
        """Follow a script in a shell of its own. Raises ValueError."""
        if self.depth >= _DEEPEST:
            raise ValueError(f"Scripts call one another more than {_DEEPEST} times")
        env = self.values.copied(args, wrappers.assigned(prefix))
        inner = replace(self, values=env, where=where, prefix=prefix, functions={}, depth=self.depth + 1)
        inner._left(syntax.parse(text))
        self.trace.values, self.trace.exported = inner.values.values, inner.values.exported - self.values.exported

    def _left(self, node: Node) -> bool:
        """Follow what `exit` and `return` end."""
        try:
            return self.run(node)
        except _LeaveError as left:
            return left.how != "failure"

    def _function(self, name: str, args: Words) -> bool:
        if self.depth >= _DEEPEST:
            raise ValueError(f"Functions call one another more than {_DEEPEST} times")
        inner = replace(self, values=self.values.called(args), depth=self.depth + 1)
        try:
            return inner.run(self.functions[name])
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
                    whole = replace(call, prefix=self.prefix + call.prefix)
                    self._met(words, where, files, whole)
                    return True
                before = len(self.trace.celery)
                if script := self._script_at(words, index, first):
                    self.script(script[0], script[1] or where, script[2], self.prefix + words[:index])
                    followed = followed or index == first or wrappers.fate(basename(words[first])) is not None
                if len(self.trace.celery) > before or (script and _SHELL.fullmatch(basename(words[index]))):
                    return True
        if not followed:
            self._met(words, where, files, None)
        return True

    def _met(self, words: Words, where: str, files: Words, call: Call | None) -> None:
        self.trace.commands.append(Command(words, files, where, call, self.values.environment(), self.folder))

    def _script_at(self, words: Words, index: int, first: int) -> tuple[str, str, Words] | None:
        """Return the text of the script that this word starts, where it is, and its arguments."""
        word, name = words[index], basename(words[index])
        if _SHELL.fullmatch(name):
            return self._of_shell(words[index + 1 :])
        spaced = any(c.isspace() for c in word)
        if words[index - 1] == "-c" and any(map(wrappers.is_python, words[first:index])):  # its code is no shell's
            return None
        if index > first and spaced and ("celery" in word.lower() or _is_script(words[index - 1], word)):
            return word, "", ()
        if spaced or wrappers.waits(name):
            return None
        return self._file(word, words[index + 1 :]) if index == first or "/" in word or "." in word else None

    def _of_shell(self, words: Words) -> tuple[str, str, Words] | None:
        """Read `-c TEXT` or `FILE ARGS…` after the name of a shell."""
        rest = list(words)
        while rest and rest[0][:1] in ("-", "+"):
            option = rest.pop(0)
            if re.fullmatch("-[a-z]*c", option):
                return (rest[0], "", tuple(rest[2:])) if rest else None
            if re.fullmatch("[-+][a-z]*[oO]", option) and rest:
                rest.pop(0)
        return self._file(rest[0], tuple(rest[1:]), plain=True) if rest else None

    def _file(self, path: str, args: Words, *, plain: bool = False) -> tuple[str, str, Words] | None:
        """Read a script; a `plain` one need not look like a script of a shell."""
        found = None if variables.varies(path) else self.open(join(self.folder, path))
        if found is None:
            return None
        if not plain and not _SCRIPT.search(found[0]) and not _SHEBANG.match(found[1]):
            return None
        return found[1], f"{found[0]}:{{}}", args

    # --- The tree -----------------------------------------------------------------------------------------

    def run(self, node: Node) -> bool:
        """Follow commands; return whether they succeed. Raises ValueError."""
        match node:
            case Simple():
                return self._simple(node)
            case nodes.Sequence(items):
                done = True
                for item in self._joined(items):
                    done = self.run(item)
                return done
            case nodes.Either(left, both, right):
                done, doubts = self._judged(left)
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
                endless = condition in _ENDLESS
                return self._judged(condition)[0] == until or self._rounds(
                    body, "", [""], "" if endless else "a condition"
                )
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
                what = (
                    f"a loop over {unknown} is followed once: how often it runs is not told, so workers may be missing"
                )
                self._note(Fate.LOST, what, started[0].where)

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

    def _joined(self, items: Sequence[Node]) -> list[Node]:
        """Give a command the options on the lines after it.

        The next line of `command: >`, which is indented, is a new line to the shell.
        """
        found: list[Node] = []
        for item in items:
            option = item.words[0][0] if isinstance(item, Simple) and item.first and item.words else None
            if isinstance(item, Simple) and option and found and option.text[:1] == "-" and not option.quoted:
                found[-1] = _longer(found[-1], item.words)
                what = f"to the shell a new line is a new command, as at `{option.text}`"
                self._note(Fate.CHANGED, f"{what}: it is taken as an option, as was meant", self._at(item.line))
            else:
                found.append(item)
        return found

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
        before = tuple(f"{name}={self.values.text(value)}" for name, _, value in node.assigned if not _many(value))
        arguments = tuple(found for word in node.words for found in self.values.fields(word))
        files = tuple(f"{operator} {self.values.text(word)}" for operator, word in node.files)
        return self.start(before + arguments, where, tuple(filter(_is_file, files))) if arguments else True

    # --- Conditions ---------------------------------------------------------------------------------------

    def _judged(self, node: Node) -> tuple[bool, list[str]]:
        """Follow a condition; return whether it holds, and what it would have to know."""
        before, self.values.doubts = self.values.doubts, {}
        try:
            return self.run(node), list(self.values.doubts)
        finally:
            self.values.doubts = before | self.values.doubts

    def _if(self, node: nodes.If) -> bool:
        for index, (condition, body) in enumerate(node.branches):
            holds, doubts = (True, []) if condition is None else self._judged(condition)
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
        before, self.values.doubts = self.values.doubts, {}
        value, doubts = self.values.resolved(self.values.text(node.word)), list(self.values.doubts)
        self.values.doubts = before
        patterns = [[self.values.text(word) for word in words] for words, _ in node.branches]
        if not value and self.values.asked(node.word):
            literal = (text for texts in patterns for text in texts if not set(text) & set("*?["))
            self.trace.choices |= dict.fromkeys(literal)
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

    def _exec(self, words: Words, where: str, files: Words) -> bool:
        if words:
            self.start(words, where, files)
            raise _LeaveError("exit")
        return True

    def _source(self, words: Words, where: str, files: Words) -> bool:
        """Follow a script in this shell; one that is not here is passed over."""
        found = self._file(words[0], words[1:], plain=True) if words else None
        if found:
            inner = replace(self, where=found[1], depth=self.depth + 1)
            if inner.depth < _DEEPEST:
                inner.run(syntax.parse(found[0]))
            self.functions = inner.functions
        return True

    def _eval(self, words: Words, where: str, files: Words) -> bool:
        return replace(self, depth=self.depth + 1, where=where).run(syntax.parse(" ".join(words)))

    def _set(self, words: Words, where: str, files: Words) -> bool:
        self.values.exports_all |= "-a" in words or "allexport" in words
        if "--" in words:
            self.values.args = words[words.index("--") + 1 :]
        return True

    def _read(self, words: Words, where: str, files: Words) -> bool:
        """Forget what these variables held: what comes in is not known."""
        for name in words:
            self.values.values.pop(name, None)
        return True

    def _shift(self, words: Words, where: str, files: Words) -> bool:
        self.values.args = self.values.args[int(words[0]) if words and words[0].isdecimal() else 1 :]
        return True

    def _cd(self, words: Words, where: str, files: Words) -> bool:
        if words and words[-1] != "-":
            self.folder = join(self.folder, words[-1])
        return True

    def _leave(self, how: str) -> None:
        raise _LeaveError(how)


def _is_script(option: str, text: str) -> bool:
    """Tell whether what a program takes with an option may be a command; `psql -c 'select 1'` is none."""
    with suppress(ValueError):
        return option in ("-c", "--command") and bool(syntax.parse(text))
    return False


def _longer(node: Node, words: tuple[Word, ...]) -> Node:
    """Give the last command of these more words."""
    if isinstance(node, nodes.Either):
        return replace(node, right=_longer(node.right, words))
    return replace(node, words=node.words + words) if isinstance(node, Simple) else node


def _many(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], tuple)


def _is_file(redirection: str) -> bool:
    """Tell whether a redirection writes a file: not `2>&1`, `> /dev/null` or `< input`."""
    operator, _, target = redirection.partition(" ")
    return ">" in operator and not target.isdecimal() and not target.startswith(("/dev/", "/proc/", "-", "&"))


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
    "exit": lambda shell, words, where, files: shell._leave("exit" if words in ((), ("0",)) else "failure"),
    "return": lambda shell, words, where, files: shell._leave("return"),
    "break": lambda shell, words, where, files: shell._leave("break"),
    "continue": lambda shell, words, where, files: shell._leave("continue"),
    "false": lambda shell, words, where, files: False,
    **dict.fromkeys((":", "true", "unset", "wait", "trap"), lambda shell, words, where, files: True),
}
