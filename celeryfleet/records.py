"""Frozen values that travel as JSON lines, and file descriptors beside them; validated when they are read.

Neither dataclasses nor typing may be imported here: `celeryfleet health` takes less time than they do.
"""

import json
import os
import socket
from types import GenericAlias, UnionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


#: bytes of one message at most; a larger one is somebody else's protocol
LIMIT = 16 * 1024 * 1024


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen value with the fields that its class annotates."""

    #: names of its fields
    fields: "tuple[str, ...]" = ()
    #: those that `public` leaves out
    hidden: "tuple[str, ...]" = ()

    def __init_subclass__(cls) -> None:
        cls.fields = tuple(cls.__annotations__)
        setattr(cls, "__match_args__", cls.fields)  # noqa: B010 - mypy knows them already

    def __init__(self, *values: object, **named: object) -> None:
        fields = self.fields
        given = dict(zip(fields, values, strict=False)) | named
        if len(values) > len(fields) or not given.keys() <= set(fields):
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(fields)}")
        for name in fields:
            if name not in given and not hasattr(type(self), name):
                raise ValueError(f"{type(self).__name__} lacks {name}")
            self.__dict__[name] = given[name] if name in given else getattr(type(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def but(self, **changes: object) -> "Self":
        """Return it with some fields changed."""
        return type(self)(**{**vars(self), **changes})


def public(record: Record) -> dict[str, object]:
    """Return what a record shows of itself as JSON's types, in the order of its fields."""
    return {name: _shown(value) for name, value in vars(record).items() if name not in record.hidden}


def _shown(value: object) -> object:
    if isinstance(value, Record):
        return public(value)
    return [_shown(item) for item in value] if isinstance(value, tuple) else value


def encode(message: Record) -> bytes:
    """Write a message as one line; `t` names its type."""
    whole = {"t": type(message).__name__.lower(), **vars(message)}
    return json.dumps(whole, separators=(",", ":"), default=vars).encode() + b"\n"


def decode(kind: "Any", value: "Any") -> "Any":
    """Return JSON's value as this type; a union of records is told apart by `t`. Raises ValueError on another one."""
    if isinstance(kind, UnionType):
        return decode(_member(kind, value), value)
    if isinstance(kind, GenericAlias):
        if kind.__origin__ is tuple and isinstance(value, list):
            return tuple(decode(kind.__args__[0], item) for item in value)
        if kind.__origin__ is dict and isinstance(value, dict):
            return {key: decode(kind.__args__[1], item) for key, item in value.items()}
    elif kind is object:
        return value
    elif issubclass(kind, Record):
        if isinstance(value, dict):
            known = kind.__annotations__
            return kind(**{key: decode(known[key], item) for key, item in value.items() if key in known})
    elif kind in (int, float):
        if type(value) in (int, kind) and abs(value) < 2**63:  # nor what is no number: NaN
            return value
    elif type(value) is kind:
        return value
    raise ValueError(f"{value!r:.80} is no {getattr(kind, '__name__', kind)}")


def _member(kind: UnionType, value: "Any") -> "Any":
    if type(None) in kind.__args__:
        return type(None) if value is None else kind.__args__[0]
    name = value.get("t") if isinstance(value, dict) else value
    found = [member for member in kind.__args__ if member.__name__.lower() == name]
    if not found:
        raise ValueError(f"there is no message {name!r:.80}")
    return found[0]


class Room:
    """The bytes that several streams may hold together of messages that are not whole yet."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> None:
        """Take some, or give back what is less than nothing. Raises ValueError where there are none left."""
        self.left -= size
        if size > 0 and self.left < 0:
            raise ValueError("too many messages are half said")


class Lines:
    """Cut a stream of bytes into messages."""

    def __init__(self, kind: object, limit: int = LIMIT, room: Room | None = None) -> None:
        self._kind = kind
        self._limit = limit
        self._room = room or Room(1 << 62)
        self._buffer = bytearray()

    @property
    def begun(self) -> bool:
        """Tell whether a message has begun that is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> "Iterator[Any]":
        """Take bytes as they come; yield the messages they complete. Raises ValueError on what is not one."""
        self._buffer += data
        self._room.take(len(data))
        if len(self._buffer) > self._limit:
            raise ValueError("a message is too long")
        if b"\n" not in data:
            return
        whole = bytes(self._buffer)
        self.drop()
        *lines, rest = whole.split(b"\n")
        self._buffer += rest
        self._room.take(len(rest))
        for line in lines:
            if line:
                yield parse(self._kind, line)

    def drop(self) -> None:
        """Forget what is not whole."""
        self._room.take(-len(self._buffer))
        self._buffer.clear()


def parse(kind: object, line: bytes) -> "Any":
    """Read a message of this type. Raises ValueError."""
    try:
        return decode(kind, json.loads(line))
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None


def send_with_fds(channel: socket.socket, message: Record, fds: list[int]) -> None:
    """Send one message and descriptors over a SOCK_SEQPACKET socket, whole or not at all. Raises OSError.

    The message lies in a file without a name, which goes ahead of `fds`: the socket takes some 200 KB at most,
    and 500 queues with their routes are more.
    """
    file = os.memfd_create("celeryfleet")
    try:
        with open(file, "wb", closefd=False) as body:
            body.write(encode(message))
        socket.send_fds(channel, [b"+"], [file, *fds])
    finally:
        os.close(file)


def receive_with_fds(channel: socket.socket, kind: object) -> "tuple[Any, list[int]]":
    """Receive what `send_with_fds` sent; the message is None when the other side has closed. Raises ValueError."""
    data, fds, _, _ = socket.recv_fds(channel, 16, 8)
    if not data or not fds:
        return None, list(fds)
    for fd in fds:
        os.set_inheritable(fd, False)  # as received they would reach every program that a task starts
    with open(fds[0], "rb") as body:  # noqa: PTH123 - pathlib opens no descriptors
        body.seek(0)
        return parse(kind, body.read()), list(fds[1:])
