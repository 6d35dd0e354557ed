"""Finds, in the repository, the script that a command names by its path in an image or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from posixpath import basename, dirname, join, normpath

#: path, as seen from the file that is imported → the text; None where there is none
Read = Callable[[str], str | None]
#: where projects keep the scripts of their images
_FOLDERS = ("", "docker", "scripts", "script", "bin", "deploy", "compose", "common")


@dataclass(frozen=True, slots=True)
class Repository:
    """Files of a repository, and where they are in an image."""

    read: Read
    #: folders that paths are tried in
    folders: tuple[str, ...] = (".", "..", "../..")
    #: path in the image, path in the repository; later ones first
    copies: tuple[tuple[str, str], ...] = ()
    #: of the image
    folder: str = "/"

    def open(self, path: str) -> tuple[str, str] | None:
        """Return a script's place and text; None where it is not here."""
        if "/" not in path and "." not in path and self.folder == "/" and not self.copies:
            return None
        for candidate in dict.fromkeys(map(normpath, self._candidates(path))):
            if not candidate.startswith("/") and (text := self.read(candidate)) is not None:
                return candidate, text
        return None

    def _candidates(self, path: str) -> Iterator[str]:
        absolute = path if path.startswith("/") else join(self.folder, path)
        program = "/" not in path
        for place in (absolute, f"/usr/local/bin/{path}", f"/usr/bin/{path}") if program else (absolute,):
            for target, source in reversed(self.copies):
                yield from _copied(normpath(place), target, source)
        if program and "." not in path:
            return
        parts = [part for part in normpath(absolute).split("/") if part not in ("", ".", "..")]
        for folder in self.folders:
            if not path.startswith("/"):
                yield join(folder, path)
            yield from (join(folder, *parts[start:]) for start in range(min(len(parts), 12)))
            yield from (join(folder, place, parts[-1]) for place in _FOLDERS if parts)


def _copied(path: str, target: str, source: str) -> Iterator[str]:
    """Yield where a file comes from if COPY or a volume put it there."""
    whole = normpath(target)
    if path == whole:
        yield source
    prefix = "/" if whole == "/" else f"{whole}/"
    if not path.startswith(prefix):
        return
    rest = path.removeprefix(prefix)
    if rest == basename(source):
        yield source
    elif "*" in source and fnmatchcase(rest, basename(source)):
        yield join(dirname(source), rest)
    else:
        yield join(source, rest)
