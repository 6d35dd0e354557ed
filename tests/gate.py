"""A door to a broker that a test can shut: whoever comes is turned away and counted, whoever is inside is cut off."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


class Gate:
    """Listens on a port of its own, and connects each caller with what `behind` connects to."""

    def __init__(self, behind: Callable[[], socket.socket]) -> None:
        self._behind = behind
        self._open = True
        self._inside: set[socket.socket] = set()
        #: not set while those who are behind do not learn that a caller was cut off
        self._told = threading.Event()
        self._told.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        #: callers turned away
        self.refused = 0
        self._welcoming = threading.Thread(target=self._welcome)
        self._welcoming.start()

    def shut(self) -> None:
        """Let nobody in, and cut off who is."""
        self._open = False
        for end in tuple(self._inside):
            _hang_up(end)

    def cut(self) -> None:
        """Cut off who is inside; what is behind goes on believing that they are there, as where a network is cut."""
        self._told.clear()
        self.shut()

    def tell(self) -> None:
        """Have what is behind learn who is gone."""
        self._told.set()

    def open(self) -> None:
        """Let callers in."""
        self._open = True

    def close(self) -> None:
        """End it."""
        self.tell()
        self.shut()
        _hang_up(self._listener)
        self._welcoming.join()
        self._listener.close()

    def _welcome(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                self.refused += 1
                caller.close()
                continue
            threading.Thread(target=self._serve, args=(caller, self._behind())).start()

    def _serve(self, caller: socket.socket, served: socket.socket) -> None:
        with caller, served:
            self._inside.add(caller)
            back = threading.Thread(target=_pass_on, args=(served, caller))
            back.start()
            _pass_on(caller, served, self._told.wait)
            back.join()
            self._inside.discard(caller)


@contextlib.contextmanager
def gate(behind: Callable[[], socket.socket]) -> Iterator[Gate]:
    """Have a gate for a while."""
    made = Gate(behind)
    try:
        yield made
    finally:
        made.close()


def _pass_on(source: socket.socket, to: socket.socket, wait: Callable[[], object] = bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    wait()
    _hang_up(to)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
