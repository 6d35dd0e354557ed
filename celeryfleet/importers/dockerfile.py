"""A Dockerfile → what its image runs and with which variables, and from where its files come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from celeryfleet.importers import variables
from celeryfleet.importers.found import Words, split_words

_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_STAGE = re.compile(r"(?:--\S+\s+)*(\S+)(?:\s+[Aa][Ss]\s+(\S+))?")
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?")


@dataclass(frozen=True, slots=True)
class Image:
    """What a Dockerfile says of the containers that its image is for."""

    entrypoint: Words = ()
    command: Words = ()
    #: lines of those two; 0: they are not in this file
    lines: tuple[int, int] = (0, 0)
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    #: path in the image, path in the build's context
    copies: tuple[tuple[str, str], ...] = ()


def read(text: str, arguments: Mapping[str, str], target: str = "") -> Image:
    """Read a Dockerfile up to a stage, or to its end; `arguments` are those of the build."""
    stages: dict[str, Image] = {}
    image, name, given = Image(), "", dict(arguments)
    for line, instruction, value in _instructions(text):
        if instruction == "FROM":
            if name and name == target.lower():
                break
            match = _STAGE.match(_filled(value, given))
            image, name = (stages.get(match[1].lower(), Image()), (match[2] or "").lower()) if match else (Image(), "")
        elif instruction == "ARG":
            key, equals, default = value.strip().partition("=")
            if key not in given and (equals or key in image.env):
                given[key] = _filled("".join(split_words(default)), {**given, **image.env})
        else:
            image = _taken(image, line, instruction, value, {**given, **image.env})
        stages[name] = image
    return image


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Go through the instructions, each with its line, with lines joined that end in a backslash."""
    held, start, until = "", 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if until:
            until = "" if line.strip() == until else until
            continue
        if line.lstrip().startswith("#") or (not line.strip() and held):
            continue
        start = start if held else number
        whole = held + line
        if whole.rstrip().endswith("\\"):
            held = whole.rstrip()[:-1] + " "
            continue
        held = ""
        if match := _INSTRUCTION.match(whole):
            heredoc = _HEREDOC.search(match[2]) if match[1].upper() in ("RUN", "COPY", "ADD") else None
            until = heredoc[1] if heredoc else ""
            yield start, match[1].upper(), match[2].strip()


def _taken(image: Image, line: int, instruction: str, value: str, known: Mapping[str, str]) -> Image:
    match instruction:
        case "ENTRYPOINT":  # which takes away the command that the stage before it had
            return replace(image, entrypoint=_command(value), command=(), lines=(line, 0))
        case "CMD":
            return replace(image, command=_command(value), lines=(image.lines[0], line))
        case "ENV":
            return replace(image, env={**image.env, **_variables(value, known)})
        case "WORKDIR":
            return replace(image, folder=_absolute(image.folder, _filled(value.strip("\"'"), known)))
        case "COPY" | "ADD":
            return replace(image, copies=(*image.copies, *_copies(image.folder, _filled(value, known))))
        case _:
            return image


def _command(value: str) -> Words:
    """Read `["a", "b"]`, or what a shell is given."""
    if value.startswith("["):
        try:
            words = json.loads(value)
        except (ValueError, RecursionError):
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return tuple(words)
    return ("/bin/sh", "-c", value)


def _variables(value: str, known: Mapping[str, str]) -> dict[str, str]:
    """Read `A=b C="d e"`, or the older `A b`."""
    words = split_words(value)
    if words and "=" not in words[0]:
        return {words[0]: _filled(value.partition(" ")[2].strip(), known)}
    return {key: _filled(text, known) for key, equals, text in (word.partition("=") for word in words) if equals}


def _copies(folder: str, value: str) -> Iterator[tuple[str, str]]:
    words = list(_command(value)) if value.startswith("[") else split_words(value)
    flags = [word for word in words if word.startswith("--")]
    paths = [word for word in words if not word.startswith("--")]
    if len(paths) > 1 and not any(flag.startswith("--from") for flag in flags):
        for source in paths[:-1]:
            yield _absolute(folder, paths[-1]), source


def _absolute(folder: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder.rstrip('/')}/{path.removeprefix('./')}"


def _filled(text: str, known: Mapping[str, str]) -> str:
    filled = variables.filled(variables.normal(text), known)
    return variables.settled(filled, {}) or filled
