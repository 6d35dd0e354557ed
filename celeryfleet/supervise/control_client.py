"""The client's end of the control socket: a request and its reply, a line each; light enough for probes."""

from __future__ import annotations

import socket

from celeryfleet import trust
from celeryfleet.errors import Exit, FleetError
from celeryfleet.protocol import Done, Refused
from celeryfleet.records import Lines, Record, encode

TYPE_CHECKING = False  # spares the lean path the import of typing
if TYPE_CHECKING:
    from typing import TypeVar

    R = TypeVar("R", bound=Record)


class NotRunningError(FleetError):
    """The fleet is not running."""

    def __init__(self, what: str = "The fleet is not running.") -> None:
        super().__init__(what, hint="Start it with `celeryfleet up -d`.", code=Exit.NOT_READY)


class Client:
    """A connection to a running supervisor."""

    def __init__(self, path: str, timeout: float | None = 30.0) -> None:
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
        uid = trust.peer(self._socket)
        if not trust.believed(uid):
            self._socket.close()
            raise FleetError(
                f"what answers on {path} is a process of {trust.named(uid)}, and is not believed.",
                hint=f"If that fleet is to be believed, name its folder in {trust.VARIABLE}.",
                code=Exit.NOT_READY,
            )

    def do(self, request: Record) -> None:
        """Have something done. Raises FleetError where it is refused."""
        self.ask(request, Done)

    def ask(self, request: Record, reply: type[R]) -> R:
        """Send a request and return its reply, of this type. Raises FleetError where it is refused."""
        try:
            self._socket.sendall(encode(request))
            return self.reply(reply)
        except TimeoutError:
            raise FleetError("the supervisor does not answer", code=Exit.NOT_READY) from None
        except (ConnectionResetError, BrokenPipeError):
            raise NotRunningError("The fleet stopped while it was asked.") from None

    def tell(self, request: Record) -> None:
        """Send a request whose reply is waited for elsewhere: when there is something to read, see `answered`."""
        self._socket.sendall(encode(request))

    def reply(self, kind: type[R]) -> R:
        """Return the reply to a request that was told. Raises NotRunningError where the supervisor has ended."""
        found = self._read(kind)
        if isinstance(found, Refused):
            raise FleetError(found.what, hint=found.hint, code=Exit(found.code))
        return found

    def answered(self) -> bool:
        """Tell whether what there is to read is a reply, and not the supervisor's end."""
        return bool(self._socket.recv(1, socket.MSG_PEEK))

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

    def _read(self, reply: type[R]) -> R | Refused:
        lines = Lines(reply | Refused)
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise NotRunningError("The fleet stopped while it was asked.")
            try:
                for message in lines.feed(data):
                    found: R | Refused = message
                    return found
            except ValueError as error:
                raise FleetError(
                    "what answers on the control socket is no supervisor of this version of celeryfleet.",
                    hint="Stop an older one with SIGTERM, then run `celeryfleet up`.",
                    code=Exit.FAILURE,
                ) from error
