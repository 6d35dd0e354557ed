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
    #: `$VAR`, `${…}`, `$(…)`, `<(…)` or a backquoted command; `((…))`, too, as if it were `$((…))`
    replaced: bool = False


Word = tuple[Part, ...]

_OPERATOR = re.compile(r";;&|;;|;&|;|&&|&>>|&>|&|\|\||\|&|\||<<<|<<-|<<|<&|>&|>>|>\||<>|<(?!\()|>(?!\()|\(|\)|\n")
REDIRECTIONS = frozenset(("<", ">", ">>", ">|", "<>", "<&", ">&", "&>", "&>>", "<<<", "<<", "<<-"))
#: what stands before a word: spaces, a comment, and the descriptor in `2> file`
_BLANK = re.compile(r"(?:\\\n|[ \t\r]|#[^\n]*|[0-9]+(?=[<>]))+")
_COUNTED = r"\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)"
_ARITHMETIC = re.compile(_COUNTED)
_REPLACED = rf"(?P<name>\$(?:[A-Za-z_]\w*|[0-9@*#?$!-]|{_COUNTED}))|(?P<open>\$[({{]|`)"
#: the pieces of a word: without quotes, within double ones, and of `${…}` without and within those
_UNQUOTED = re.compile(
    rf"""\\\n|\\(?P<escaped>.?)|'(?P<single>[^']*)'|(?P<double>\$?")|\$(?=')|(?P<process>[<>]\()|{_REPLACED}"""
    r"""|(?P<plain>\$|[^ \t\r\n;&|<>()'"\\$`#]+|#)""",
    re.DOTALL,
)
_QUOTED = re.compile(rf"""\\\n|\\(?P<escaped>["\\$`])|(?P<end>")|{_REPLACED}|(?P<plain>[^"\\$`]+|[\\$])""")
_BRACES = rf"""\\.|(?P<end>}})|(?P<double>")|{_REPLACED}|[^}}'"\\$`]+|[\\$']"""
_UNQUOTED_BRACES, _QUOTED_BRACES = re.compile(f"'[^']*'|{_BRACES}", re.DOTALL), re.compile(_BRACES, re.DOTALL)
_BACKQUOTED = re.compile(r"(?:[^`\\]|\\.)*`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or an operator, of which the end of a line is one."""

    line: int
    word: Word = ()
    operator: str = ""

    @property
    def text(self) -> str:
        """Return an operator, or a word that stands for itself, such as `if`; empty for any other."""
        plain = not any(part.quoted or part.replaced for part in self.word)
        return "".join(part.text for part in self.word) if plain and self.word else self.operator


class Lexer:
    """Cuts a text into tokens."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.line, self.counted = 1, 0  # lines up to a place in the text
        self.depth = 0
        self.pending: list[tuple[str, bool]] = []  # the heredocs whose text begins on the next line

    def tokens(self) -> Iterator[Token]:
        """Go through the tokens. Raises ValueError."""
        before = ""
        while self.at < len(self.text):
            if match := _BLANK.match(self.text, self.at):
                self.at = match.end()
                continue
            self.line += self.text.count("\n", self.counted, self.at)
            self.counted = self.at
            token = self._token(self.line)
            if token.word and before in ("<<", "<<-"):
                self.pending.append(("".join(part.text for part in token.word), before == "<<-"))
            before = token.operator
            yield token
            if before == "\n":
                self._skip_heredocs()

    def _token(self, line: int) -> Token:
        start = self.at
        if match := _ARITHMETIC.match(self.text, start):
            self.at = match.end()
            return Token(line, (Part("$" + re.sub(r"\s", "", match[0]), replaced=True),))
        if match := _OPERATOR.match(self.text, start):
            self.at = match.end()
            return Token(line, operator=match[0])
        word = tuple(self.parts(_UNQUOTED, ""))
        if not word:  # a quote that nothing ends
            raise ValueError("No closing quotation")
        if self.at - start > _LONGEST:
            raise ValueError(f"It is longer than {_LONGEST:,} characters")
        return Token(line, word)

    def _skip_heredocs(self) -> None:
        for mark, indented in self.pending:
            row = None
            while row != mark and self.at < len(self.text):
                start, self.at = self.at, self.text.find("\n", self.at) + 1 or len(self.text)
                row = self.text[start : self.at].rstrip("\r\n")
                row = row.strip() if indented else row
        self.pending = []

    def parts(self, pieces: re.Pattern[str], closing: str) -> Iterator[Part]:
        """Read the parts of a word, up to what ends it, which is told if it has to be closed. Raises ValueError."""
        quoted = bool(closing)
        while match := pieces.match(self.text, self.at):
            start, self.at = self.at, match.end()
            match match.lastgroup:
                case "end":
                    return
                case "double":
                    yield Part("", quoted=True)
                    yield from self.parts(_QUOTED, "quotation")
                case "open" | "process":
                    self._skip(match[0][-1], _QUOTED_BRACES if quoted else _UNQUOTED_BRACES)
                    yield Part(self.text[start : self.at], quoted, replaced=True)
                case "name":
                    yield Part(match[0], quoted, replaced=True)
                case "plain" | "escaped" | "single" as kind:
                    yield Part(match[kind], quoted or kind != "plain")
        if quoted:
            raise ValueError(f"No closing {closing}")

    def _skip(self, opening: str, braces: re.Pattern[str]) -> None:
        """Go to the end of what a shell would replace, which opens here."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"It is nested more than {_DEEPEST} levels deep")
        if opening == "(":
            self._skip_commands()
        elif opening == "{":
            for _ in self.parts(braces, "bracket"):
                pass
        elif match := _BACKQUOTED.match(self.text, self.at):
            self.at = match.end()
        else:
            raise ValueError("No closing quotation")
        self.depth -= 1

    def _skip_commands(self) -> None:
        """Go past the `)` of `$(…)`, which is no bracket that opens in it and none after a pattern of a `case`."""
        opened, before = list[str](), "("
        for token in self.tokens():
            word = token.text
            if word == "(" or (word == "case" and before in _BEFORE_COMMANDS):
                opened.append(word)
            elif word == "esac" and opened[-1:] == ["case"]:
                opened.pop()
            elif word == ")" and not opened:
                return
            elif word == ")" and opened[-1] == "(":
                opened.pop()
            before = word
        raise ValueError("No closing bracket")


_BEFORE_COMMANDS = frozenset(("(", ")", "{", "\n", ";", ";;", "&", "&&", "||", "|", "!", "then", "else", "do"))


def within_quotes(text: str) -> Word:
    """Read a text that stands within double quotes. Raises ValueError."""
    return tuple(Lexer(f'{text}"').parts(_QUOTED, "quotation"))
