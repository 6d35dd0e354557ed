"""Shell text → the words of its simple commands; runs nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from celeryfleet.importers.found import Command

#: what a shell would replace, spaces and all: ${…}, $(…), `…`
_REPLACED = re.compile(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`]*`")
_DESCRIPTOR = re.compile(r"(?:(?<=\s)|^)[0-9](?=[<>])")
_OPERATOR = frozenset(";&|()<>")
#: stands for what is replaced while the words are taken apart; no text file holds it
_STAND_IN = "\ue000"
#: characters of a command
_LONGEST = 131_072
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
        elif mark == "#" and not quote and next((part for part in reversed(parts) if part), " ")[-1].isspace():
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            number += mark.count("\n")
            if mark in ("'", '"'):
                quote = "" if quote == mark else quote or mark
            parts.append(mark)
    yield start, "".join(parts)


def commands(text: str, where: str = "") -> tuple[Command, ...]:
    """Take a script apart into simple commands; `if`, `then` and the like stay words. Raises ValueError."""
    return tuple(command for _, line in logical_lines(text) for command in line_commands(line, where))


def line_commands(line: str, where: str) -> tuple[Command, ...]:
    """Take one logical line apart. Raises ValueError where a quote is not closed, and for what no system would run."""
    if len(line) > _LONGEST:
        raise ValueError(f"It is longer than {_LONGEST:,} characters")
    held: list[str] = []

    def hold(match: re.Match[str]) -> str:
        held.append(match[0])
        return f"{_STAND_IN}{len(held) - 1}{_STAND_IN}"

    lexer = shlex.shlex(
        _DESCRIPTOR.sub("", _REPLACED.sub(hold, line.replace(_STAND_IN, ""))), posix=True, punctuation_chars=";&|()<>"
    )
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = [re.sub(f"{_STAND_IN}([0-9]+){_STAND_IN}", lambda m: held[int(m[1])], word) for word in lexer]
    return separated(words, where)


def separated(words: Sequence[str], where: str) -> tuple[Command, ...]:
    """Cut words into simple commands at `&&`, `;`, `|` and `&`, and take redirections out of their words."""
    found: list[list[str]] = [[]]
    files: list[list[str]] = [[]]
    redirection, open_ = "", 0
    for word in words:
        operator = bool(word) and _OPERATOR.issuperset(word)
        if redirection and not operator:
            files[-1] += [f"{redirection} {word}"] if _is_file(redirection, word) else []
            redirection = ""
        elif operator and ("<" in word or ">" in word):
            redirection = word
        elif operator:
            open_ += word.count("(") - word.count(")")
            if open_ < 0 or word == "()":  # a pattern of `case`, or the name of a function
                found[-1], open_ = [], 0
            found.append([])
            files.append([])
        else:
            found[-1].append(word)
    return tuple(Command(tuple(words), tuple(to), where) for words, to in zip(found, files, strict=True) if words)


def _is_file(operator: str, target: str) -> bool:
    """Tell whether a redirection writes a file: not `2>&1`, `> /dev/null` or `< input`."""
    return ">" in operator and not target.isdecimal() and not target.startswith(("/dev/", "/proc/", "-", "&"))
