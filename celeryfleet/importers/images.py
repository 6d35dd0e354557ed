"""What the image of a compose service runs, by the Dockerfile that it, or another service, builds it of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from posixpath import join, normpath

from celeryfleet.fleetfile import dotenv
from celeryfleet.fleetfile.tree import Node, ScalarNode, child, entries, items, text
from celeryfleet.importers import dockerfile, variables
from celeryfleet.importers.dockerfile import Image
from celeryfleet.importers.found import Open, Words
from celeryfleet.importers.repository import Read, Repository


def pairs(node: Node | None) -> Iterator[tuple[str, str]]:
    """Go through what a mapping, or a list of `NAME=value`, sets; a name alone sets nothing."""
    for key, entry in entries(node):
        if (value := text(entry.node)) is not None:
            yield key, value
    for item in items(node):
        key, equals, value = (text(item) or "").partition("=")
        if equals:
            yield key, value


@dataclass(frozen=True, slots=True)
class ServiceImage:
    """The image of one service."""

    open: Open
    #: the Dockerfile; empty: none is known
    file: str = ""
    image: Image = field(default_factory=Image)

    @property
    def entrypoint(self) -> Words:
        """Return its words."""
        return tuple(map(variables.normal, self.image.entrypoint))

    @property
    def command(self) -> Words:
        """Return its words."""
        return tuple(map(variables.normal, self.image.command))

    @property
    def env(self) -> Mapping[str, str]:
        """Return the variables that it sets."""
        return self.image.env

    def where(self, words: list[str], place: str) -> str:
        """Return where a service's command is: in the compose file, or the Dockerfile if all of it is from there."""
        whole = [*self.entrypoint, *self.command]
        line = self.image.lines[1] or self.image.lines[0]
        return f"{self.file}:{line}" if whole and words == whole and line else place


class Images:
    """The images of the services of a file."""

    def __init__(self, services: Mapping[str, Node], known: Mapping[str, str], read: Read) -> None:
        self.known, self.read = known, read
        #: name of an image → a service that builds it
        self.built: dict[str, Node] = {}
        for node in services.values():
            name = text(child(node, "image"))
            if name and child(node, "build") is not None:
                self.built.setdefault(name, node)

    def variables(self, env_files: tuple[str, ...]) -> dict[str, str]:
        """Return what the env files of a service set."""
        found: dict[str, str] = {}
        for path in env_files:
            source = self.read(self._settled(path))
            found |= {} if source is None else dotenv.parse(source, path)[0]
        return found

    def of(self, service: Node) -> ServiceImage:
        """Return the image of a service; an empty one where no Dockerfile is known."""
        builder = service
        if child(service, "build") is None:
            builder = self.built.get(text(child(service, "image")) or "", service)
        build = child(builder, "build")
        context = self._settled(text(build) or text(child(build, "context")) or ".")
        mounted = tuple(self._mounted(service))
        if build is None:
            return ServiceImage(Repository(self.read, (".",), mounted).open)
        path = normpath(join(context, self._settled(text(child(build, "dockerfile")) or "Dockerfile")))
        source = text(child(build, "dockerfile_inline")) or self.read(path)
        image = dockerfile.read(source or "", dict(self._arguments(build)), text(child(build, "target")) or "")
        copies = tuple((target, join(context, source)) for target, source in image.copies)
        folder = text(child(service, "working_dir")) or image.folder
        return ServiceImage(Repository(self.read, (context, "."), (*copies, *mounted), folder).open, path, image)

    def _arguments(self, build: Node) -> Iterator[tuple[str, str]]:
        return ((key, self._settled(value)) for key, value in pairs(child(build, "args")))

    def _mounted(self, service: Node) -> Iterator[tuple[str, str]]:
        """Go through the volumes that are folders of the repository: path in the container, path here."""
        for item in items(child(service, "volumes")):
            source, target = text(child(item, "source")) or "", text(child(item, "target")) or ""
            if isinstance(item, ScalarNode):
                source, _, target = self._settled(item.text).partition(":")
                target = target.partition(":")[0]
            if source.startswith(".") and target:
                yield target, source

    def _settled(self, written: str) -> str:
        """Return a text with its variables replaced; empty ones where nothing tells."""
        normal = variables.normal(written)
        missing = variables.required(normal) if variables.readable(normal) else set()
        return variables.settled(normal, {**dict.fromkeys(missing, ""), **self.known}) or written
