"""Shell text → a tree of its commands; expands nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from celeryfleet.importers.nodes import Case, Either, For, Function, If, Loop, Node, Not, Sequence, Simple, Subshell
from celeryfleet.importers.tokens import REDIRECTIONS, Lexer, Part, Token, Word

#: words of a command
_MOST_WORDS = 5000
#: levels of `if` within `if`; commands that `&&` and `||` join
_DEEPEST, _LONGEST_CHAIN = 30, 200
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^]]*\])?(\+?)=(.*)", re.DOTALL)
#: commands that assign what comes after them
DECLARES = frozenset(("declare", "export", "local", "readonly", "typeset"))
_CLOSERS = frozenset(("then", "do", "done", "fi", "elif", "else", "esac", "}"))


class _Parser:
    """Makes commands of tokens, by recursive descent."""

    def __init__(self, text: str) -> None:
        self.lexer = Lexer(text)
        self.source = self.lexer.tokens()
        self.ahead: Token | None = None
        self.depth = 0
        self.advance()

    def advance(self) -> Token | None:
        """Take a token."""
        taken, self.ahead = self.ahead, next(self.source, None)
        return taken

    def operator(self) -> str:
        """Return the operator that comes next; empty at the end and before a word."""
        return self.ahead.operator if self.ahead else ""

    def plain(self) -> str:
        """Return the plain word that comes next."""
        return self.ahead.plain if self.ahead else ""

    def expect(self, word: str) -> None:
        """Take this word or operator. Raises ValueError."""
        if word not in (self.plain(), self.operator()):
            found = (self.plain() or self.operator()).replace("\n", "the end of the line") if self.ahead else "the end"
            raise ValueError(f"{word} is missing before {found or 'a word'}")
        self.advance()

    def sequence(self, *closers: str) -> Sequence:
        """Read commands up to a word or operator that closes them, which is left. Raises ValueError."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"It is nested more than {_DEEPEST} levels deep")
        items: list[Node] = []
        first = True
        while self.ahead is not None:
            if self.operator() in ("\n", ";", "&"):
                first = self.operator() == "\n" or first
                self.advance()
            elif self.operator() in closers or (self.plain() in closers and self.plain()):
                break
            else:
                if self.plain() in _CLOSERS or (self.operator() and self.operator() not in ("(", *REDIRECTIONS)):
                    raise ValueError(f"{self.plain() or self.operator()} is not expected at line {self.ahead.line}")
                items.append(self.either(first))
                first = False
        self.depth -= 1
        return Sequence(tuple(items))

    def either(self, first: bool) -> Node:
        """Read `a && b || c`."""
        node, length = self.pipe(first), 0
        while self.operator() in ("&&", "||"):
            length += 1
            if length > _LONGEST_CHAIN:
                raise ValueError(f"It joins more than {_LONGEST_CHAIN} commands by && and ||")
            both = self.operator() == "&&"
            self.advance()
            self.skip_lines()
            node = Either(node, both, self.pipe(False))
        return node

    def skip_lines(self) -> None:
        """Skip the ends of lines."""
        while self.operator() == "\n":
            self.advance()

    def pipe(self, first: bool) -> Node:
        """Read `a | b`."""
        negated = self.plain() == "!"
        if negated:
            self.advance()
        items = [self.command(first)]
        while self.operator() in ("|", "|&"):
            self.advance()
            self.skip_lines()
            items.append(self.command(False))
        node: Node = items[0] if len(items) == 1 else Sequence(tuple(Subshell(item) for item in items))
        return Not(node) if negated else node

    def command(self, first: bool) -> Node:
        """Read one command, with the redirections of a compound one."""
        node = self._compound()
        if node is None:
            return self._simple(first)
        while self.operator() in REDIRECTIONS:
            self._redirection()
        return node

    def _compound(self) -> Node | None:
        line = self.ahead.line if self.ahead else 0
        if self.operator() == "(":
            self.advance()
            node: Node = Subshell(self.sequence(")"))
            self.expect(")")
            return node
        match self.plain():
            case "{":
                self.advance()
                node = self.sequence("}")
                self.expect("}")
                return node
            case "if":
                return self._if(line)
            case "case":
                return self._case(line)
            case "for" | "select":
                return self._for()
            case "while" | "until" as word:
                self.advance()
                condition = self.sequence("do")
                return Loop(word == "until", condition, self._do())
            case "function":
                self.advance()
                name = self.advance()
                return self._function(name.plain if name else "")
        return None

    def _function(self, name: str) -> Function:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"It is nested more than {_DEEPEST} levels deep")
        if self.operator() == "(":
            self.advance()
            self.expect(")")
        self.skip_lines()
        found = Function(name, self.command(False))
        self.depth -= 1
        return found

    def _do(self) -> Node:
        self.expect("do")
        body = self.sequence("done")
        self.expect("done")
        return body

    def _if(self, line: int) -> If:
        branches: list[tuple[Node | None, Node]] = []
        while self.plain() in ("if", "elif"):
            self.advance()
            condition = self.sequence("then")
            self.expect("then")
            branches.append((condition, self.sequence("elif", "else", "fi")))
        if self.plain() == "else":
            self.advance()
            branches.append((None, self.sequence("fi")))
        self.expect("fi")
        return If(tuple(branches), line)

    def _case(self, line: int) -> Case:
        self.advance()
        word = self.advance()
        self.skip_lines()
        self.expect("in")
        branches: list[tuple[tuple[Word, ...], Node]] = []
        self.skip_lines()
        while self.ahead is not None and self.plain() != "esac":
            if self.operator() == "(":
                self.advance()
            patterns: list[Word] = []
            while self.ahead is not None and self.operator() != ")":
                token = self.advance()
                if token and token.word:
                    patterns.append(token.word)
            self.expect(")")
            branches.append((tuple(patterns), self.sequence(";;", ";&", ";;&", "esac")))
            if self.operator() in (";;", ";&", ";;&"):
                self.advance()
            self.skip_lines()
        self.expect("esac")
        return Case(word.word if word else (), tuple(branches), line)

    def _for(self) -> For:
        self.advance()
        name = self.advance()
        self.skip_lines()
        words: list[Word] = [(Part("$@", quoted=True, replaced=True),)]
        if self.plain() == "in":
            self.advance()
            words = []
            while self.ahead is not None and self.ahead.word:
                words.append(self.ahead.word)
                self.advance()
        elif self.operator() == "(":  # for ((i=0; i<4; i++))
            counted = f"$({''.join(self._until_do()).rstrip(';')}"
            name = Token(0, (Part(re.sub(r"\W.*", "", counted[3:])),))
            words = [(Part(counted, replaced=True),)]
        while self.operator() in (";", "\n"):
            self.advance()
        return For(name.plain if name else "", tuple(words), self._do())

    def _until_do(self) -> Iterator[str]:
        """Read what stands before the `do` of a loop that counts, without spaces."""
        while self.ahead is not None and self.plain() != "do" and self.operator() != "\n":
            yield self.operator() or "".join(part.text for part in self.ahead.word)
            self.advance()

    def _redirection(self) -> tuple[str, Word]:
        operator = self.operator()
        self.advance()
        target = self.ahead.word if self.ahead else ()
        if operator in ("<<", "<<-"):
            mark = "".join(part.text for part in target)
            self.lexer.pending.append((mark, operator == "<<-"))
        if target:
            self.advance()
        return operator, target

    def _simple(self, first: bool) -> Node:
        """Read a simple command; what a word such as `export` assigns is assigned, too."""
        line = self.ahead.line if self.ahead else 0
        words: list[Word] = []
        files: list[tuple[str, Word]] = []
        assigned: list[tuple[str, bool, Word | tuple[Word, ...]]] = []
        declares = False
        while self.ahead is not None:
            token = self.ahead
            if len(words) + len(files) > _MOST_WORDS:
                raise ValueError(f"A command of it has more than {_MOST_WORDS:,} words")
            if token.word:
                found = None if words and not declares else assignment(token.word)
                declares = declares or (not words and token.plain in DECLARES)
                self.advance()
                if found and not found[2] and self.operator() == "(":
                    assigned.append((found[0], found[1], self._array()))
                elif found:
                    assigned.append(found)
                else:
                    words.append(token.word)
                if token.plain == "[[" and len(words) == 1:
                    words += self._test()
            elif token.operator in REDIRECTIONS:
                files.append(self._redirection())
            elif token.operator == "(" and len(words) == 1 and not assigned:
                return self._function("".join(part.text for part in words[0]))
            else:
                break
        return Simple(tuple(words), tuple(files), line, tuple(assigned), first)

    def _array(self) -> tuple[Word, ...]:
        self.advance()
        items: list[Word] = []
        while self.ahead is not None and self.operator() != ")":
            if self.ahead.word:
                items.append(self.ahead.word)
            self.advance()
        self.expect(")")
        return tuple(items)

    def _test(self) -> Iterator[Word]:
        """Read what stands between `[[` and `]]`, where operators are words."""
        while self.ahead is not None:
            token = self.advance()
            if token is None or token.operator == "\n":
                continue
            yield token.word or (Part(token.operator),)
            if token.plain == "]]":
                return


def assignment(word: Word) -> tuple[str, bool, Word] | None:
    """Take `NAME=value` or `NAME+=value` apart; None if it is none."""
    match = _ASSIGNMENT.fullmatch(word[0].text) if word and not (word[0].quoted or word[0].replaced) else None
    if match is None:
        return None
    rest = (Part(match[4]),) if match[4] else ()
    return match[1], bool(match[3]), (*rest, *word[1:])


def parse(text: str) -> Sequence:
    """Read a script. Raises ValueError where no shell could."""
    parser = _Parser(text)
    found = parser.sequence()
    if parser.ahead is not None:
        raise ValueError(f"{parser.plain() or parser.operator()} is not expected")
    return found
