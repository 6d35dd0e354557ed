"""The client's end of the control socket: one JSON object a line, a request and its reply; light enough for probes."""

from __future__ import annotations

import socket

from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Lines, encode

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from typing import Any

    from celeryfleet.protocol import Message


class NotRunningError(FleetError):
    """The fleet is not running."""

    def __init__(self, what: str = "The fleet is not running.") -> None:
        super().__init__(what, hint="Start it with `celeryfleet up -d`.", code=Exit.NOT_READY)


class Client:
    """A connection to a running supervisor."""

    def __init__(self, path: str, timeout: float | None = 30.0) -> None:
        self._lines = Lines()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NotRunningError from error
        except OSError as error:
            self._socket.close()
            raise FleetError(f"cannot open the control socket {path}: {error.strerror}", code=Exit.NOT_READY) from error

    def ask(self, do: str, **fields: Any) -> Message:
        """Send a request and return its reply; an error in it is raised as FleetError."""
        try:
            self._socket.sendall(encode({"do": do, **fields}))
            reply = self._read()
        except TimeoutError:
            raise FleetError("the supervisor does not answer", code=Exit.NOT_READY) from None
        except (ConnectionResetError, BrokenPipeError):
            raise NotRunningError("The fleet stopped while it was asked.") from None
        if not reply["ok"]:
            error = reply["error"]
            raise FleetError(error["what"], hint=error.get("hint", ""), code=Exit(error.get("code", Exit.FAILURE)))
        return reply

    def patience(self, seconds: float | None) -> None:
        """Set how long a reply may take; None: for ever."""
        self._socket.settimeout(seconds)

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Message:
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise NotRunningError("The fleet stopped while it was asked.")
            try:
                messages = self._lines.feed(data)
            except ValueError as error:
                raise FleetError("what answers on the control socket is no supervisor.", code=Exit.FAILURE) from error
            if messages:
                return messages[0]
