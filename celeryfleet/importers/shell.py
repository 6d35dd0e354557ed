"""Shell text → the words of its simple commands; runs nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from celeryfleet.importers.found import Words

#: what a shell would replace, spaces and all: ${…}, $(…), `…`
_REPLACED = re.compile(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`]*`")
_DESCRIPTOR = re.compile(r"(?:(?<=\s)|^)[0-9](?=[<>])")
_OPERATOR = frozenset(";&|()<>")
#: stands for what is replaced while the words are taken apart; no text file holds it
_STAND_IN = "\ue000"
_NEXT = re.compile(r"""\\.|["'\n#]""", re.DOTALL)


class Command(tuple[str, ...]):
    """The words of a simple command, which are all that counts when two are compared."""

    #: redirections into files, as `>> worker.log`
    files: Words

    def __new__(cls, words: Iterable[str], files: Iterable[str] = ()) -> Self:
        """Make it of its words and redirections."""
        made = super().__new__(cls, words)
        made.files = tuple(files)
        return made


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with its number: without comments, joined where it ends in a backslash or a quote is open."""
    start, number, quote = 1, 1, ""
    parts: list[str] = []
    at = 0
    while at < len(text):
        match = _NEXT.search(text, at)
        parts.append(text[at : match.start() if match else len(text)])
        if match is None:
            break
        mark, at = match[0], match.end()
        if mark == "\\\n":
            number += 1
            parts.append(" ")
        elif mark == "\n" and not quote:
            yield start, "".join(parts)
            parts, number = [], number + 1
            start = number
        elif mark == "#" and not quote and (not parts or not "".join(parts) or "".join(parts)[-1].isspace()):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            number += mark.count("\n")
            quote = quote if len(mark) > 1 else _quote(quote, mark)
            parts.append(mark)
    yield start, "".join(parts)


def _quote(open_: str, mark: str) -> str:
    if mark not in "\"'":
        return open_
    return mark if not open_ else "" if open_ == mark else open_


def commands(text: str) -> list[Command]:
    """Take a script apart into simple commands; `if`, `then` and the like stay words. Raises ValueError."""
    return [words for _, line in logical_lines(text) for words in line_commands(line)]


def line_commands(line: str) -> list[Command]:
    """Take one logical line apart. Raises ValueError where a quote is not closed."""
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"{_STAND_IN}{len(held) - 1}{_STAND_IN}"

    lexer = shlex.shlex(_DESCRIPTOR.sub("", _REPLACED.sub(hold, line)), posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = [re.sub(f"{_STAND_IN}(\\d+){_STAND_IN}", lambda m: held[int(m[1])], word) for word in lexer]
    return separated(words)


def separated(words: Sequence[str]) -> list[Command]:
    """Cut words into simple commands at `&&`, `;`, `|` and `&`, and take redirections out of their words."""
    found: list[list[str]] = [[]]
    redirected: list[list[str]] = [[]]
    skip, open_ = "", 0
    for word in words:
        operator = bool(word) and _OPERATOR.issuperset(word)
        if skip and not operator:
            redirected[-1] += [f"{skip} {word}"] if _is_file(skip, word) else []
            skip = ""
        elif operator and ("<" in word or ">" in word):
            skip = word
        elif operator:
            open_ += word.count("(") - word.count(")")
            if open_ < 0 or word == "()":  # a pattern of `case`, or the name of a function
                found[-1], open_ = [], 0
            found.append([])
            redirected.append([])
        else:
            found[-1].append(word)
    return [Command(words, files) for words, files in zip(found, redirected, strict=True) if words]


def _is_file(operator: str, target: str) -> bool:
    """Tell whether a redirection writes a file: not `2>&1`, `> /dev/null` or `< input`."""
    return ">" in operator and not target.isdecimal() and not target.startswith(("/dev/", "/proc/", "-", "&"))
