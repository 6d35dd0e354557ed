"""Comments that silence a finding on their line: `# celeryfleet: ignore[CF010] read by hand`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from celeryfleet.lint.registry import UNUSED_IGNORE, named
from celeryfleet.lint.values import Finding, Level

_COMMENT = re.compile(r"(?:^|\s)#\s*celeryfleet:\s*ignore(?:\[(?P<words>[^\]]*)\])?")


@dataclass(frozen=True, slots=True)
class Ignore:
    """One word of such a comment."""

    file: str
    line: int
    #: counted from 1, of the comment
    column: int
    #: a code or a name, as written; empty: the comment names none
    word: str


def ignores(files: Mapping[str, str]) -> Iterator[Ignore]:
    """Go through the comments of files, given as name and text; one on a line of its own is for the next line."""
    for file, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            match = _COMMENT.search(line)
            if match is None:
                continue
            column = line.index("#", match.start()) + 1
            for word in (match["words"] or "").split(",") or [""]:
                yield Ignore(file, number + (not line[: column - 1].strip()), column, word.strip())


def silence(
    findings: Sequence[Finding], files: Mapping[str, str], judged: Collection[str]
) -> tuple[list[Finding], list[Finding]]:
    """Split findings into those to tell and those that a comment silences; errors are always told.

    A comment that silences nothing is told as well, if what it names is among the codes that were `judged`.
    """
    told: list[Finding] = []
    silenced: list[Finding] = []
    used: set[Ignore] = set()
    written = list(ignores(files))
    for finding in findings:
        mine = [ignore for ignore in written if _is_for(ignore, finding)]
        used.update(mine)
        (silenced if mine and finding.level is not Level.ERROR else told).append(finding)
    idle = (_unused(ignore, judged) for ignore in written if ignore not in used)
    return [*told, *(finding for finding in idle if finding is not None)], silenced


def _is_for(ignore: Ignore, finding: Finding) -> bool:
    rule = named(ignore.word)
    return rule is not None and (rule.code, ignore.file, ignore.line) == (finding.code, finding.file, finding.line)


def _unused(ignore: Ignore, judged: Collection[str]) -> Finding | None:
    rule = named(ignore.word)
    if rule is not None and rule.code not in judged:
        return None
    if rule is None:
        what = f'there is no finding "{ignore.word}" to ignore.' if ignore.word else "it does not say what to ignore."
        hint = "Name its code: # celeryfleet: ignore[CF010]"
    else:
        what, hint = f"nothing is found here that ignore[{ignore.word}] could silence.", "Remove the comment."
    where = f"{ignore.file}:{ignore.line}:{ignore.column}"
    return Finding(UNUSED_IGNORE.code, UNUSED_IGNORE.name, UNUSED_IGNORE.level, where, what, hint)
