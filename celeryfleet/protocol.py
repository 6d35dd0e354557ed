"""The messages between processes: JSON lines over stream sockets, and file descriptors beside them."""

from __future__ import annotations

import json
import os
import socket

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]

#: bytes of one message at most; a larger one is somebody else's protocol
LIMIT = 16 * 1024 * 1024


def encode(message: Message) -> bytes:
    """Write a message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cut a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they come; return the messages they complete. Raises ValueError on what is not one."""
        self._buffer += data
        if len(self._buffer) > LIMIT:
            raise ValueError("a message is too long")
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        if not all(isinstance(message, dict) for message in messages):
            raise ValueError("a message is not an object")
        return messages


def send_with_fds(channel: socket.socket, message: Message, fds: list[int]) -> None:
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


def receive_with_fds(channel: socket.socket) -> tuple[Message | None, list[int]]:
    """Receive what `send_with_fds` sent; the message is None when the other side has closed."""
    data, fds, _, _ = socket.recv_fds(channel, 16, 8)
    if not data or not fds:
        return None, list(fds)
    for fd in fds:
        os.set_inheritable(fd, False)  # as received they would reach every program that a task starts
    with open(fds[0], "rb") as body:  # noqa: PTH123 - pathlib opens no descriptors
        body.seek(0)
        return json.loads(body.read()), list(fds[1:])
