"""Shell text → its words and operators, with lines; a word is of parts, so that what was quoted is known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: characters of a word
_LONGEST = 131_072
#: levels of brackets
_DEEPEST = 30


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word."""

    #: as written, without its quotes
    text: str
    quoted: bool = False
    #: `$VAR`, `${…}`, `$(…)` or a backquoted command
    replaced: bool = False


Word = tuple[Part, ...]

_OPERATOR = re.compile(r";;&|;;|;&|;|&&|&>>|&>|&|\|\||\|&|\||<<<|<<-|<<|<&|>&|>>|>\||<>|<|>|\(|\)|\n")
REDIRECTIONS = frozenset(("<", ">", ">>", ">|", "<>", "<&", ">&", "&>", "&>>", "<<<", "<<", "<<-"))
_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_PLAIN = re.compile(r"[^ \t\r\n;&|<>()'\"\\$`#]+|#")
_IN_QUOTES = re.compile(r"[^\"\\$`]+")
_NESTED = re.compile(r"\\.|'[^']*'|[(){}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or an operator, of which the end of a line is one."""

    line: int
    word: Word = ()
    operator: str = ""

    @property
    def plain(self) -> str:
        """Return a word that stands for itself, such as `if`; empty for any other."""
        return "".join(part.text for part in self.word) if not any(p.quoted or p.replaced for p in self.word) else ""


class Lexer:
    """Cuts a text into tokens."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.line = text, 0, 1
        self.pending: list[tuple[str, bool]] = []  # the heredocs whose text begins on the next line

    def tokens(self) -> Iterator[Token]:
        """Go through the tokens. Raises ValueError."""
        text = self.text
        while self.at < len(text):
            char = text[self.at]
            if text.startswith("\\\n", self.at):
                self.at, self.line = self.at + 2, self.line + 1
            elif char in " \t\r":
                self.at += 1
            elif char == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif char.isdecimal() and text[self.at + 1 : self.at + 2] in ("<", ">"):
                self.at += 1  # the descriptor in `2> file`
            elif match := _OPERATOR.match(text, self.at):
                yield Token(self.line, operator=match[0])
                self.at = match.end()
                if char == "\n":
                    self.line += 1
                    self._skip_heredocs()
            else:
                yield self._word()

    def _skip_heredocs(self) -> None:
        for mark, indented in self.pending:
            for row in self.text[self.at :].splitlines(keepends=True):
                self.at, self.line = self.at + len(row), self.line + 1
                if (row.strip() if indented else row.rstrip("\n")) == mark:
                    break
        self.pending = []

    def _word(self) -> Token:
        line, parts, text = self.line, list[Part](), self.text
        start = self.at
        while self.at < len(text):
            char = text[self.at]
            if char == "\\":
                if text.startswith("\\\n", self.at):
                    self.line += 1
                else:
                    parts.append(Part(text[self.at + 1 : self.at + 2], quoted=True))
                self.at += 2
            elif char == "'":
                end = self._find("'", self.at + 1)
                parts.append(Part(text[self.at + 1 : end], quoted=True))
                self.line, self.at = self.line + parts[-1].text.count("\n"), end + 1
            elif char == '"':
                self.at += 1
                parts += self._quoted()
            elif char in "$`" and (end := self._replaced()):
                parts.append(Part(text[self.at : end], replaced=True))
                self.at = end
            elif char == "$":
                self.at += 1
                if text[self.at : self.at + 1] not in ("'", '"'):  # $'…' and $"…"
                    parts.append(Part("$"))
            elif match := _PLAIN.match(text, self.at):
                parts.append(Part(match[0]))
                self.at = match.end()
            else:
                break
            if self.at - start > _LONGEST:
                raise ValueError(f"It is longer than {_LONGEST:,} characters")
        return Token(line, tuple(parts))

    def _quoted(self) -> Iterator[Part]:
        """Read up to the closing double quote; an empty text is a part too."""
        text = self.text
        yield Part("", quoted=True)
        while self.at < len(text):
            char = text[self.at]
            if char == '"':
                self.at += 1
                return
            if char == "\\":
                escaped = text[self.at + 1 : self.at + 2]
                if escaped != "\n":
                    yield Part(escaped if escaped in '"\\$`' else f"\\{escaped}", quoted=True)
                self.line += escaped == "\n"
                self.at += 2
            elif char in "$`" and (end := self._replaced()):
                yield Part(text[self.at : end], quoted=True, replaced=True)
                self.line += text.count("\n", self.at, end)
                self.at = end
            elif match := _IN_QUOTES.match(text, self.at):
                yield Part(match[0], quoted=True)
                self.line, self.at = self.line + match[0].count("\n"), match.end()
            else:
                yield Part(char, quoted=True)
                self.at += 1
        raise ValueError("No closing quotation")

    def _replaced(self) -> int:
        """Return the end of what a shell would replace here; 0: it is a mere dollar."""
        text, at = self.text, self.at
        if text[at] == "`":
            return self._find("`", at + 1) + 1
        following = text[at + 1 : at + 2]
        if following in ("{", "("):
            return self._closing(at + 1)
        match = _NAME.match(text, at + 1)
        return match.end() if match else 0

    def _closing(self, at: int) -> int:
        """Return the end of the brackets that open here."""
        level = 0
        for match in _NESTED.finditer(self.text, at):
            level += {"(": 1, "{": 1, ")": -1, "}": -1}.get(match[0], 0)
            if level == 0:
                return match.end()
            if match.end() - at > _LONGEST or level > _DEEPEST:
                break
        raise ValueError("No closing bracket")

    def _find(self, mark: str, at: int) -> int:
        end = self.text.find(mark, at)
        if end < 0:
            raise ValueError("No closing quotation")
        return end


def within_quotes(text: str) -> Word:
    """Read a text that stands within double quotes. Raises ValueError."""
    return tuple(Lexer(f'{text}"')._quoted())
