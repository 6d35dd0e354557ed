"""Finds and reads fleet.yaml: text → Fleet, or every problem at once; `find` and `read…` alone touch the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from celeryfleet.errors import FleetError, Problem
from celeryfleet.fleetfile import dotenv, names
from celeryfleet.fleetfile.checks import check
from celeryfleet.fleetfile.cursor import Cursor
from celeryfleet.fleetfile.fields import section
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.fleetfile.parser import LIMIT, decoded, parse_yaml
from celeryfleet.fleetfile.settings import Names, installed
from celeryfleet.fleetfile.transform import interpolated, overridden
from celeryfleet.fleetfile.tree import MappingNode, ScalarNode, described, entries, on_one_line, plain

NAME = "fleet.yaml"
_INIT = "`celeryfleet init` writes one that runs as it is."
_EMPTY = f"Declare queues and pools; {_INIT}"

#: returns the text of an env file, whose path is as written; raises FleetError or OSError
Opener = Callable[[str], str]


def find(start: Path) -> Path:
    """Return the fleet.yaml of a folder or the nearest one above it. Raises FleetError."""
    for folder in (start, *start.parents):
        if (folder / NAME).is_file():
            return folder / NAME
    other = next((start / name for name in ("fleet.yml", "Fleet.yaml") if (start / name).is_file()), None)
    hint = f"Rename {other.name} to {NAME}, or name it with -f." if other else _INIT
    raise FleetError(f"there is no {NAME} in {start} or a folder above it.", hint=hint)


def override_of(file: Path) -> Path:
    """Name the file that is laid over a fleet.yaml, if it is there."""
    return file.with_name(f"{file.stem}.override{file.suffix}")


def read(file: Path, environ: Mapping[str, str], env_files: Sequence[Path] = ()) -> Fleet:
    """Read a fleet.yaml with the override beside it.

    The override of `fleet.yaml` is `fleet.override.yaml`. Variables come from the environment, else from `env_files`,
    the last one first, else from the file's own `env_file`, whose paths are relative to its folder. Raises FleetError
    with every problem there is.
    """
    shown = _shown(file)
    whole = read_text(file, shown)
    beside = override_of(file)
    override = (read_text(beside, _shown(beside)), _shown(beside)) if beside.is_file() else None
    given = read_env_files(env_files)

    def opened(name: str) -> str:
        path = file.parent / name
        if not path.exists():
            raise FileNotFoundError(name)
        return read_text(path, _shown(path))

    return parse(whole, str(file.absolute()), environ, shown=shown, override=override, given=given, opened=opened)


def read_env_files(files: Sequence[Path]) -> dict[str, str]:
    """Read variables from files, later ones over earlier ones. Raises FleetError with every problem."""
    given: dict[str, str] = {}
    problems: list[Problem] = []
    for path in files:
        found, wrong = dotenv.parse(read_text(path, _shown(path)), _shown(path))
        given.update(found)
        problems += wrong
    if problems:
        raise FleetError.of(problems)
    return given


def _shown(file: Path) -> str:
    """Name a file as the user did, or relative to where they are if that is shorter."""
    return min(str(file), os.path.relpath(file), key=len) if file.is_absolute() else str(file)


def read_text(file: Path, shown: str) -> str:
    """Read a text file of a sane size; a device or a pipe is read no further than that. Raises FleetError."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            data = b"" if size > LIMIT else stream.read(LIMIT + 1)
    except FileNotFoundError:
        raise FleetError(f"there is no file {shown}.", hint=_INIT if file.name == NAME else "") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FleetError(f"{shown} cannot be read: {reason}.") from None
    if max(size, len(data)) > LIMIT:
        raise FleetError(f"the file is larger than {LIMIT // 1024} KiB.", shown, "Is it the right file?")
    return decoded(data, shown)


# --- Parsing ----------------------------------------------------------------------------------------------


def _no_files(name: str) -> str:
    raise FileNotFoundError(name)


def parse(
    text: str,
    file: str,
    environ: Mapping[str, str],
    *,
    shown: str = "",
    override: tuple[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    opened: Opener = _no_files,
    newer: Names = installed,
) -> Fleet:
    """Make a Fleet of a fleet.yaml's text; reads nothing but its arguments. Raises FleetError with every problem.

    `file` is where it lies and `shown` its name in messages; `override` is the text and the name of the file that is
    laid over it; `given` are variables that the environment may override, and `opened` reads what `env_file` names;
    `newer` returns the settings that the installed Celery knows, and is asked only about one that 5.7 did not.
    """
    problems: list[Problem] = []
    root = _block(text, shown or file, problems)
    over = _block(*override, problems, may_be_empty=True) if override else None
    if root is None:
        raise FleetError.of(_in_order(problems))
    merged = overridden(root, over) if over else root
    whole = MappingNode({k: e for k, e in entries(merged) if not k.startswith("x-")}, merged.mark)
    variables = {**_env_file(whole, {**(given or {}), **environ}, opened, problems), **(given or {})}
    ready = interpolated(whole, {**variables, **environ}, problems)
    cursor = Cursor.of(ready)
    fleet = section(Fleet)(cursor)
    problems += [refused.problem for refused in cursor.refused if refused.problem]
    problems += check(cursor, newer)
    if problems:
        raise FleetError.of(_in_order(problems))
    return replace(
        fleet,
        name=fleet.name or names.default_fleet(PurePath(file).parent.name),
        default_queue=fleet.default_queue or ("default" if "default" in fleet.queues else next(iter(fleet.queues))),
        routes=tuple(
            replace(route, line=at.key.line, text=on_one_line(at.node))
            for route, at in zip(fleet.routes, cursor["routes"].items(), strict=True)
        ),
        file=file,
        variables={name: value for name, value in variables.items() if name not in environ},
        root=ready,
    )


def _block(text: str, shown: str, problems: list[Problem], may_be_empty: bool = False) -> MappingNode | None:
    root, found = parse_yaml(text.removeprefix("\ufeff"), shown)
    problems += found
    if isinstance(root, MappingNode):
        return root
    empty = root is None or plain(root) is None
    if not found and not (empty and may_be_empty):
        what = "text" if isinstance(root, ScalarNode) else described(root) if root else ""
        said = "the file is empty." if empty else f"the file must be a mapping, but it is {what}."
        problems.append(Problem(said, f"{shown}:1:1" if empty or root is None else str(root.mark), _EMPTY))
    return None


def _env_file(root: MappingNode, environ: Mapping[str, str], opened: Opener, problems: list[Problem]) -> dict[str, str]:
    """Read what `env_file` names, later files over earlier ones; names that are wrong are left to the model."""
    written = MappingNode({key: entry for key, entry in entries(root) if key == "env_file"}, root.mark)
    names = Cursor.of(interpolated(written, environ, []))["env_file"]
    variables: dict[str, str] = {}
    for named in (names, *names.items()):
        name = named.text
        if not name or not name.strip() or "\0" in name:
            continue
        try:
            found, wrong = dotenv.parse(opened(name), name)
        except (FleetError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            what = f'env_file names "{name}", which does not exist.' if missing else f"env_file: {error}"
            found, wrong = {}, [Problem(what, str(named.node.mark), _RELATIVE)]
        variables.update(found)
        problems += wrong
    return variables


_RELATIVE = "Its path is relative to the folder of fleet.yaml."


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Sort by file, in the order in which files were read, then by line and column."""
    files = list(dict.fromkeys(problem.where.rsplit(":", 2)[0] for problem in problems))

    def place(problem: Problem) -> tuple[int, int, int]:
        name, *numbers = problem.where.rsplit(":", 2)
        line, column = (int(number) if number.isdecimal() else 0 for number in [*numbers, "0", "0"][:2])
        return files.index(name), line, column

    return sorted(dict.fromkeys(problems), key=place)
