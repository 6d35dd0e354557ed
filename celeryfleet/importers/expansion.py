"""The variables of a shell, and the words that they make; what is not known stays as `${VAR}`."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from celeryfleet.importers import variables
from celeryfleet.importers.found import Words
from celeryfleet.importers.tokens import Part, Word, within_quotes
from celeryfleet.plan.secrets import is_secret

_FORM = re.compile(r"\$\{?(#?)([A-Za-z_]\w*|[0-9]+|[@*#?$!-])(\[[^]]*\])?(.*?)\}?", re.DOTALL)
_OTHER = re.compile(r"(:?[-=+?])(.*)", re.DOTALL)
#: what the shell splits at spaces, but for those within what it would replace
_FIELD = re.compile(
    r"(?:\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|\$\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|`[^`]*`|\S)+", re.DOTALL
)
_DEFAULT = re.compile(r"\$\{[A-Za-z_]\w*:?-(.*)\}", re.DOTALL)
_SYMBOL = re.compile(r"\$\{([A-Za-z_]\w*)\}")
#: what a loop counts through: `w{1..4}`, `$(seq 1 4)` and `$((i=0;i<4;i++))`, and what it picks from: `{a,b}`
_RANGE = re.compile(r"(.*)\{(-?\d{1,4})\.\.(-?\d{1,4})\}(.*)")
_SEQ = re.compile(r"(?:\$\(|`)\s*seq\s+(?:(-?\d{1,4})\s+)?(-?\d{1,4})\s*[)`]")
_COUNTED = re.compile(r"\$\(\((\w+)=(\d{1,4});\1(<=?)(\d{1,4});(?:\1\+\+|\+\+\1)\)\)")
_PICKED = re.compile(r"([^{}$]*)\{([^{}]*,[^{}]*)\}([^{}]*)")
#: all items of an array
_ARRAY = re.compile(r"\$\{(\w+)\[[@*]\]\}$")
#: what is cut off a value: `${VAR%%:*}`
_CUT = re.compile(r"(##?|%%?)(.*)", re.DOTALL)
#: a program that is looked up
_LOOKED_UP = re.compile(r"(?:\$\(|`)\s*(?:which|command -v|type -p)\s+([\w./-]+)\s*(?:\)|`)")
#: what stands for nothing where a variable is not set
_EMPTY = re.compile(r"\$\{(\w+):?-\}")
_LONGEST = 131_072
#: an argument that a script has, of which nothing is told
UNTOLD = "${ARGUMENT}"


@dataclass(slots=True)
class Variables:
    """What a shell knows."""

    values: dict[str, str]
    #: those of env files: conditions know them, words keep them as `${VAR}`
    known: Mapping[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    exports_all: bool = False
    arrays: dict[str, Words] = field(default_factory=dict)
    args: Words = ()
    #: names that conditions would have to know, in order
    doubts: dict[str, None] = field(default_factory=dict)
    #: `${VAR:-…}` whose default was taken, since it is options rather than a value; shared by all shells
    taken: dict[str, None] = field(default_factory=dict)
    #: arguments that a script's `case "$1"`, or `[ "$1" = … ]`, knows where it was given none; shared, too
    choices: dict[str, None] = field(default_factory=dict)

    def copied(self, args: Words | None, more: Mapping[str, str]) -> Variables:
        """Return those of a shell that this one starts, with these arguments; None: the same ones."""
        values, exported, args = {**self.values, **more}, {*self.exported, *more}, self.args if args is None else args
        return replace(self, values=values, exported=exported, arrays=dict(self.arrays), args=args, doubts={})

    def called(self, args: Words) -> Variables:
        """Return these very variables with other arguments, as a function has them."""
        return replace(self, args=args)

    def environment(self) -> dict[str, str]:
        """Return what a program gets."""
        return {name: value for name, value in self.values.items() if name in self.exported}

    def set(self, name: str, value: str) -> None:
        """Set a variable."""
        self.values[name] = value[:_LONGEST]
        if self.exports_all:
            self.exported.add(name)

    def assign(self, name: str, value: Word | list[Word], appends: bool) -> None:
        """Assign a value, or the items of an array, the first of which is its value."""
        if isinstance(value, list):
            items = tuple(item for word in value for item in self.fields(word))
            self.arrays[name] = (self.arrays.get(name, ()) if appends else ()) + items
            self.set(name, "".join(self.arrays[name][:1]))
        else:
            self.set(name, (self.values.get(name, "") if appends else "") + self.text(value))

    def export(self, names: Iterable[str]) -> None:
        """Give these to programs, too."""
        self.exported.update(name for name in names if name[:1] != "-")

    # --- Words --------------------------------------------------------------------------------------------

    def text(self, word: Word) -> str:
        """Return a word as one text, as in an assignment."""
        return "".join(" ".join(self._values(part, quoted=True)) if part.replaced else part.text for part in word)

    def fields(self, word: Word) -> list[str]:
        """Return the words that a word becomes."""
        done: list[str] = []
        last: str | None = None
        for part in word:
            if not part.replaced:
                last = (last or "") + part.text
                continue
            found = self._values(part, part.quoted)
            if part.quoted and not found and not last and word[-1] is part:  # "$@" of none is no word, not an empty one
                last = None
            for index, value in enumerate(found):
                if index and last is not None:
                    done.append(last)
                last = value if index else (last or "") + value
        return done if last is None else [*done, last[:_LONGEST]]

    def rounds(self, words: Iterable[Word]) -> tuple[list[str], str]:
        """Return the values that a loop goes through, and which of them may be several; empty: it is known."""
        found: list[str] = []
        unknown = ""
        for word in words:
            quoted = [part.quoted for part in word]
            listed = [part.text for part in word if (match := _ARRAY.match(part.text)) and match[1] not in self.arrays]
            for value in listed or self.fields(word):
                counted = None if any(quoted) else _values_of(self._settled(value))
                if listed or (
                    counted is None and not all(quoted) and (variables.varies(value) or set(value) & set("*?"))
                ):
                    unknown = value
                found += [value] if counted is None else counted
        return found, unknown

    def _settled(self, text: str) -> str:
        """Return a `$(…)` with the variables in it that are known."""
        return f"$({self.text(within_quotes(text[2:-1]))})" if re.match(r"\$\(\s*seq\s", text) else text

    def _values(self, part: Part, quoted: bool) -> list[str]:
        """Return what stands for a `$…`: one text within quotes, else its words."""
        if looked_up := _LOOKED_UP.fullmatch(part.text):
            return [looked_up[1]]
        match = None if part.text.startswith(("$(", "`")) else _FORM.fullmatch(part.text)
        if match is None:
            return [part.text]
        count, name, index, rest = match.groups()
        if name in ("@", "*") or (index in ("[@]", "[*]") and not count):
            items = self.args if name in ("@", "*") else self.arrays.get(name, ())
            start = int(rest[1:]) if re.fullmatch(":[0-9]{1,3}", rest) else 0
            return list(items[max(start - 1, 0) if name in ("@", "*") else start :])
        cut = _CUT.fullmatch(rest)
        if count or (
            rest and not _OTHER.fullmatch(rest) and not (cut and not variables.varies(self._get(name) or "$("))
        ):
            return [part.text]
        text = _shortened(self._get(name) or "", cut[1], self._quoted(cut[2])) if cut else self._one(name, rest, quoted)
        return [text] if quoted else [word for field_ in split(text) for word in self._options(field_)]

    def _one(self, name: str, rest: str, quoted: bool) -> str:
        """Return the value of `${NAME…}`."""
        value, form = self._get(name), _OTHER.fullmatch(rest)
        operator, other = (form[1], form[2]) if form else ("", "")
        symbol = _SYMBOL.fullmatch(value or "")
        unknown = (value is None and not _is_argument(name)) or symbol is not None
        key = symbol[1] if symbol else name
        if operator[-1:] == "+":
            return self._quoted(other) if value else ""
        if operator[-1:] in ("-", "=") and (unknown or value is None or not (value or operator[0] != ":")):
            default = self._quoted(other)
            written = f"${{{key}:-{default}}}" if operator[0] == ":" else f"${{{key}-{default}}}"
            found = self._kept(key, quoted) if unknown and key in self.known else None
            if found is None or _SYMBOL.fullmatch(found):
                found = written if unknown and variables.readable(written) else default
            if operator[-1] == "=":
                self.set(name, found)
            return found
        return self._kept(key, quoted) if unknown else value or ""

    def _options(self, word: str) -> list[str]:
        """Take the default of a `${VAR:-…}` without quotes that is options rather than a value."""
        match = _DEFAULT.fullmatch(word)
        if match is None or not (match[1][:1] == "-" or len(match[1].split()) > 1):
            return [word]
        self.taken[word] = None
        return split(variables.settled(word, self.known) or match[1])

    def _kept(self, name: str, quoted: bool) -> str:
        """Return a variable that the shell does not know: itself, or options that an env file has."""
        value = self.known.get(name, "")
        options = not quoted and (value[:1] == "-" or len(value.split()) > 1)
        return value if options and "://" not in value and not is_secret(name) else f"${{{name}}}"

    def _get(self, name: str) -> str | None:
        if name.isdecimal():
            return self.args[int(name) - 1] if 0 < int(name[:4]) <= len(self.args) else None if name != "0" else "sh"
        return {"#": str(len(self.args)), "?": "0", "$": "1"}.get(name, self.values.get(name))

    def _quoted(self, text: str) -> str:
        """Return a default, without its quotes."""
        plain = text.replace('"', "")
        if len(plain) > 1 and plain[0] == plain[-1] == "'":
            return plain[1:-1]
        return self.text(within_quotes(plain))

    # --- Conditions ---------------------------------------------------------------------------------------

    def asked(self, word: Word) -> bool:
        """Tell whether a word is an argument that there is not."""
        names = [match for part in word if part.replaced for match in re.findall(r"\w+", part.text)]
        empty = (name for name in names if (self._get(name) or "") in ("", UNTOLD))
        return any(name.isdecimal() or self.values.get(name) in ("", UNTOLD) for name in empty)

    def resolved(self, text: str) -> str:
        """Return a text with its variables replaced; those that are not known are not set, which is remembered."""
        if not variables.varies(text):
            return text
        text = _EMPTY.sub(r"${\1}", text)
        if not variables.readable(text):
            self.doubts[text[:60]] = None
            return ""
        missing = variables.required(text) - set(self.known)
        self.doubts |= dict.fromkeys(sorted(missing))
        return variables.settled(text, {**dict.fromkeys(missing, ""), **self.known}) or ""

    def holds(self, words: Sequence[str]) -> bool:
        """Judge `[ … ]`, `[[ … ]]` or `test …`."""
        inner = list(words[1:])
        if inner and inner[-1] in ("]", "]]"):
            inner.pop()
        return any(all(self._test(part) for part in _cut(one, "&&", "-a")) for one in _cut(inner, "||", "-o"))

    def _test(self, words: Sequence[str]) -> bool:
        match words:
            case ["!", *rest]:
                return not self._test(rest)
            case ["-n", word] | [word] if word != "!":
                return bool(self.resolved(word))
            case ["-z", word]:
                return not self.resolved(word)
            case ["-v", name]:
                return bool(self.resolved(self._one(name, "", quoted=True)))
            case [left, "=" | "==", right]:
                self.choices |= {right: None} if left == UNTOLD else {}
                return fnmatchcase(self.resolved(left), self.resolved(right))
            case [left, "!=", right]:
                return not fnmatchcase(self.resolved(left), self.resolved(right))
            case [left, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" as sign, right]:
                return _compared(self.resolved(left), sign, self.resolved(right))
            case _:  # a file, a pattern: not known
                self.doubts[" ".join(words)[:60]] = None
                return False


def split(text: str) -> list[str]:
    """Split a text at its spaces, as `$VAR` without quotes is."""
    return _FIELD.findall(text)


def _values_of(text: str) -> list[str] | None:
    """Return what a loop over `{1..4}`, `$(seq 4)`, `$((i=0;i<4;i++))` or `{a,b}` goes through; None: it is none."""
    if match := _PICKED.fullmatch(text):
        return [match[1] + one + match[3] for one in match[2].split(",")]
    before, after = "", ""
    if match := _RANGE.fullmatch(text):
        before, first, last, after = match[1], int(match[2]), int(match[3]), match[4]
    elif match := _SEQ.fullmatch(text):
        first, last = int(match[1] or 1), int(match[2])
    elif match := _COUNTED.fullmatch(text):
        first, last = int(match[2]), int(match[4]) - (match[3] == "<")
    else:
        return None
    down = last < first and before + after + text[:1] == "{"
    return [f"{before}{number}{after}" for number in (range(first, last - 1, -1) if down else range(first, last + 1))]


def _shortened(value: str, sign: str, pattern: str) -> str:
    """Cut what fits a pattern off the start (`#`) or the end (`%`) of a value: the longest for a double sign."""
    ends = range(len(value) + 1)
    if sign[0] == "#":
        at = next((i for i in (reversed(ends) if len(sign) > 1 else ends) if fnmatchcase(value[:i], pattern)), 0)
        return value[at:]
    fitting = (i for i in (ends if len(sign) > 1 else reversed(ends)) if fnmatchcase(value[i:], pattern))
    return value[: next(fitting, len(value))]


def _is_argument(name: str) -> bool:
    return not (name[0].isalpha() or name[0] == "_")


def _cut(words: Sequence[str], *signs: str) -> Iterator[list[str]]:
    """Cut words at these signs."""
    part: list[str] = []
    for word in words:
        if word in signs:
            yield part
            part = []
        elif word not in ("(", ")"):
            part.append(word)
    yield part


def _compared(left: str, sign: str, right: str) -> bool:
    if not (re.fullmatch(r"-?\d{1,9}", left) and re.fullmatch(r"-?\d{1,9}", right)):
        return False
    return bool(getattr(operator, sign[1:])(int(left), int(right)))
