"""Shell text → a tree of its commands; expands nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from celeryfleet.importers.nodes import Case, Either, For, Function, If, Loop, Node, Not, Sequence, Simple, Subshell
from celeryfleet.importers.tokens import REDIRECTIONS, Lexer, Part, Token, Word

#: words of a command
_MOST_WORDS = 5000
#: levels of `if` within `if`; commands that `&&` and `||` join
_DEEPEST, _LONGEST_CHAIN = 30, 200
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^]]*\])?(\+?)=(.*)", re.DOTALL)
#: commands that assign what comes after them
DECLARES = frozenset(("declare", "export", "local", "readonly", "typeset"))
#: what no command begins with
_LATER = frozenset(
    ("then", "do", "done", "fi", "elif", "else", "esac", "}", ")", ";;", ";&", ";;&", "&&", "||", "|", "|&")
)
_END = Token(0)


class _Parser:
    """Makes commands of tokens, by recursive descent."""

    def __init__(self, text: str) -> None:
        self.source = Lexer(text).tokens()
        self.ahead = next(self.source, _END)
        self.depth = 0

    def advance(self) -> Token:
        """Take a token."""
        taken, self.ahead = self.ahead, next(self.source, _END)
        return taken

    def take(self, *words: str) -> str:
        """Take one of these words and operators, and return it; empty: another one comes next."""
        return self.advance().text if self.ahead.text in words else ""

    def expect(self, word: str) -> None:
        """Take this word or operator. Raises ValueError."""
        if not self.take(word):
            found = self.ahead.text.replace("\n", "the end of the line") or "a word"
            raise ValueError(f"{word} is missing before {'the end' if self.ahead is _END else found}")

    def sequence(self, *closers: str) -> Sequence:
        """Read commands up to a word or operator that closes them, which is left. Raises ValueError.

        A command that begins with an option on a line of its own, which is the next line of a `command: >` that is
        indented, is a new one to the shell: its words are given to the command before.
        """
        items: list[Node] = []
        joined: list[tuple[str, int]] = []
        first = True
        while self.ahead is not _END and self.ahead.text not in closers:
            if end := self.take("\n", ";", "&"):
                first = first or end == "\n"
                continue
            if self.ahead.text in _LATER:
                raise ValueError(f"{self.ahead.text} is not expected at line {self.ahead.line}")
            item = self._either()
            option = item.words[0][0] if isinstance(item, Simple) and first and item.words else None
            if isinstance(item, Simple) and option and items and option.text[:1] == "-" and not option.quoted:
                items[-1] = _longer(items[-1], item.words)
                joined.append((option.text, item.line))
            else:
                items.append(item)
            first = False
        return Sequence(tuple(items), tuple(joined))

    def _body(self, closer: str) -> Sequence:
        """Read commands, and what closes them."""
        found = self.sequence(closer)
        self.expect(closer)
        return found

    def _skip_lines(self) -> None:
        while self.take("\n"):
            pass

    def _either(self) -> Node:
        """Read `a && b || c`."""
        node, length = self._pipe(), 0
        while sign := self.take("&&", "||"):
            length += 1
            if length > _LONGEST_CHAIN:
                raise ValueError(f"It joins more than {_LONGEST_CHAIN} commands by && and ||")
            self._skip_lines()
            node = Either(node, sign == "&&", self._pipe())
        return node

    def _pipe(self) -> Node:
        """Read `a | b`."""
        negated = self.take("!")
        items = [self._command()]
        while self.take("|", "|&"):
            self._skip_lines()
            items.append(self._command())
        node: Node = items[0] if len(items) == 1 else Sequence(tuple(Subshell(item) for item in items))
        return Not(node) if negated else node

    def _command(self) -> Node:
        """Read one command, with the redirections of a compound one."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"It is nested more than {_DEEPEST} levels deep")
        node = self._compound() or self._simple()
        while self.ahead.operator in REDIRECTIONS:
            self._redirection()
        self.depth -= 1
        return node

    def _compound(self) -> Node | None:
        line = self.ahead.line
        match self.take("(", "{", "if", "case", "for", "select", "while", "until", "function"):
            case "(":
                return Subshell(self._body(")"))
            case "{":
                return self._body("}")
            case "if":
                return self._if(line)
            case "case":
                return self._case(line)
            case "for" | "select":
                return self._for()
            case "while" | "until" as word:
                return Loop(word == "until", self._body("do"), self._body("done"))
            case "function":
                return self._function(self.advance().text)
        return None

    def _function(self, name: str) -> Function:
        if self.take("("):
            self.expect(")")
        self._skip_lines()
        return Function(name, self._command())

    def _if(self, line: int) -> If:
        branches: list[tuple[Node | None, Node]] = []
        word = "if"
        while word in ("if", "elif"):
            branches.append((self._body("then"), self.sequence("elif", "else", "fi")))
            word = self.take("elif", "else")
        if word:
            branches.append((None, self.sequence("fi")))
        self.expect("fi")
        return If(tuple(branches), line)

    def _case(self, line: int) -> Case:
        word = self.advance().word
        self._skip_lines()
        self.expect("in")
        self._skip_lines()
        branches: list[tuple[tuple[Word, ...], Node]] = []
        while self.ahead is not _END and self.ahead.text != "esac":
            self.take("(")
            branches.append((tuple(self._words()), self.sequence(";;", ";&", ";;&", "esac")))
            self.take(";;", ";&", ";;&")
            self._skip_lines()
        self.expect("esac")
        return Case(word, tuple(branches), line)

    def _words(self) -> list[Word]:
        """Read words up to a bracket, whatever operators stand between them: patterns, or the items of an array."""
        found: list[Word] = []
        while self.ahead is not _END and self.ahead.operator != ")":
            token = self.advance()
            found += [token.word] if token.word else []
        self.expect(")")
        return found

    def _for(self) -> For:
        name = self.advance()
        self._skip_lines()
        words: list[Word] = [(Part("$@", quoted=True, replaced=True),)]
        if counted := _arithmetic(name):  # for ((i=0; i<4; i++))
            words = [name.word]
        elif self.take("in"):
            words = []
            while self.ahead.word:
                words.append(self.advance().word)
        while self.take(";", "\n"):
            pass
        self.expect("do")
        return For(re.sub(r"\W.*", "", counted) or name.text, tuple(words), self._body("done"))

    def _redirection(self) -> tuple[str, Word]:
        operator = self.advance().operator
        return operator, self.advance().word if self.ahead.word else ()

    def _simple(self) -> Node:
        """Read a simple command; what a word such as `export` assigns is assigned, too."""
        line = self.ahead.line
        words: list[Word] = [(Part("test"),)] if _arithmetic(self.ahead) else []
        files: list[tuple[str, Word]] = []
        assigned: list[tuple[str, bool, Word | list[Word]]] = []
        declares = False
        while (token := self.ahead).word or token.operator in REDIRECTIONS:
            if len(words) + len(files) > _MOST_WORDS:
                raise ValueError(f"A command of it has more than {_MOST_WORDS:,} words")
            if not token.word:
                files.append(self._redirection())
                continue
            self.advance()
            found = None if words and not declares else assignment(token.word)
            declares = declares or (not words and token.text in DECLARES)
            if found and not found[2] and self.take("("):
                assigned.append((found[0], found[1], self._words()))
            elif found:
                assigned.append(found)
            else:
                words.append(token.word)
            if token.text == "[[" and len(words) == 1:
                words += self._test()
        if self.ahead.operator == "(" and len(words) == 1 and not assigned:
            return self._function("".join(part.text for part in words[0]))
        return Simple(tuple(words), tuple(files), line, tuple(assigned))

    def _test(self) -> Iterator[Word]:
        """Read what stands between `[[` and `]]`, where operators are words."""
        while self.ahead is not _END:
            token = self.advance()
            if token.operator != "\n":
                yield token.word or (Part(token.operator),)
            if token.text == "]]":
                return


def _longer(node: Node, words: tuple[Word, ...]) -> Node:
    """Give the last command of these more words."""
    if isinstance(node, Either):
        return replace(node, right=_longer(node.right, words))
    return replace(node, words=node.words + words) if isinstance(node, Simple) else node


def _arithmetic(token: Token) -> str:
    """Return what stands in `((…))`; empty: it is none."""
    text = token.word[0].text if token.word and token.word[0].replaced else ""
    return text[3:-2] if text.startswith("$((") else ""


def assignment(word: Word) -> tuple[str, bool, Word] | None:
    """Take `NAME=value` or `NAME+=value` apart; None if it is none."""
    match = _ASSIGNMENT.fullmatch(word[0].text) if word and not (word[0].quoted or word[0].replaced) else None
    if match is None:
        return None
    rest = (Part(match[4]),) if match[4] else ()
    return match[1], bool(match[3]), (*rest, *word[1:])


def parse(text: str) -> Sequence:
    """Read a script. Raises ValueError where no shell could."""
    return _Parser(text).sequence()
