"""Shell text → the words of its simple commands; runs nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from celeryfleet.migrate.found import Words

#: what a shell would replace, spaces and all: ${…}, $(…), `…`
_REPLACED = re.compile(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`]*`")
_DESCRIPTOR = re.compile(r"(?:(?<=\s)|^)[0-9](?=[<>])")
_OPERATOR = frozenset(";&|()<>")
#: stands for what is replaced while the words are taken apart; no text file holds it
_STAND_IN = "\ue000"
_NEXT = re.compile(r"""\\.|["'\n#]""", re.DOTALL)


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


def commands(text: str) -> list[Words]:
    """Take a script apart into simple commands; `if`, `then` and the like stay words. Raises ValueError."""
    return [words for _, line in logical_lines(text) for words in line_commands(line)]


def line_commands(line: str) -> list[Words]:
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


def separated(words: Sequence[str]) -> list[Words]:
    """Cut words into simple commands at `&&`, `;`, `|` and `&`, and drop redirections."""
    found: list[list[str]] = [[]]
    skip, open_ = False, 0
    for word in words:
        operator = bool(word) and _OPERATOR.issuperset(word)
        if skip and not operator:
            skip = False
        elif operator and ("<" in word or ">" in word):
            skip = True
        elif operator:
            open_ += word.count("(") - word.count(")")
            if open_ < 0 or word == "()":  # a pattern of `case`, or the name of a function
                found[-1], open_ = [], 0
            found.append([])
        else:
            found[-1].append(word)
    return [tuple(command) for command in found if command]
