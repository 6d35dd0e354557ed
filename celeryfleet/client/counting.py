"""A process that counts what waits on a RabbitMQ for a supervisor, which imports no kombu; it ends when it is left."""

from __future__ import annotations

import socket
import sys

from celeryfleet.client.broker import Counting
from celeryfleet.protocol import Backlog
from celeryfleet.records import Lines, encode


def main(fd: int) -> None:
    """Answer each Backlog that comes over this socket with its Depths."""
    counting, lines = Counting(), Lines(Backlog)
    with socket.socket(fileno=fd) as supervisor:
        while data := supervisor.recv(1 << 16):
            for asked in lines.feed(data):
                supervisor.sendall(encode(counting.count(asked)))
    counting.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
