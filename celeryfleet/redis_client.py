"""Talks to Redis or Valkey without redis-py, whose import alone takes 0.12 s; knows RESP2, and nothing of the fleet."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import TypeAlias

    Word: TypeAlias = str | bytes | int | float
    Reply: TypeAlias = "bytes | int | ReplyError | list[Reply] | None"

#: bytes asked for at a time
_CHUNK = 65536
_BAD_PORT = "the port in its URL is not a number up to 65535; a password with # / ? or % in it must be quoted"
#: what an error reply of the handshake means
_REFUSALS = {
    "NOAUTH": "it asks for a password, and the URL has none",
    "WRONGPASS": "it does not accept the user or password of the URL",
    "ERR invalid password": "it does not accept the password of the URL",
    "ERR AUTH": "the URL has a password, but the server has none",
    "ERR Client sent AUTH": "the URL has a password, but the server has none",
    "ERR DB index": "it has no database of that number",
    "LOADING": "it is still loading its data",
    "DENIED": "it is in protected mode and takes connections from its own machine only",
    "NOPERM": "its access list does not let this user in",
    "ERR max number of clients": "it takes no more clients (maxclients)",
}


class BrokerError(ConnectionError):
    """The broker cannot be reached or does not do as asked; carries no credentials."""

    def __init__(self, where: str, reason: str) -> None:
        #: `host:port` or the path of the socket
        self.where = where
        #: the rest of a sentence that begins with "the broker at …:"
        self.reason = reason
        super().__init__(f"{where}: {reason}")


class ReplyError(str):
    """An error reply, as a value: `WRONGTYPE Operation against a key …`."""

    __slots__ = ()


class _ProtocolError(Exception):
    """What came is not RESP2."""


class Replies:
    """Parses the replies out of whatever pieces `recv(size)` hands over."""

    def __init__(self, recv: Callable[[int], bytes]) -> None:
        self._recv = recv
        self._buffer = bytearray()
        self._at = 0

    def read(self) -> Reply:
        """Return the next reply; EOFError where the stream ends before it does."""
        reply = self._read()
        del self._buffer[: self._at]
        self._at = 0
        return reply

    def _read(self) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind not in (b":", b"$", b"*"):
            raise _ProtocolError
        try:
            number = int(rest)
        except ValueError:
            raise _ProtocolError from None
        if kind == b":":
            return number
        if number < 0:
            return None
        return self._bulk(number) if kind == b"$" else [self._read() for _ in range(number)]

    def _line(self) -> bytes:
        start = self._at
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            start = max(self._at, len(self._buffer) - 1)
            if start - self._at > _CHUNK:
                raise _ProtocolError
            self._fill(_CHUNK)
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, size: int) -> bytes:
        end = self._at + size
        while (missing := end + 2 - len(self._buffer)) > 0:
            self._fill(max(missing, _CHUNK))
        if self._buffer[end : end + 2] != b"\r\n":
            raise _ProtocolError
        value = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return value

    def _fill(self, size: int) -> None:
        data = self._recv(min(size, 1 << 20))
        if not data:
            raise EOFError
        self._buffer += data


class Connection:
    """One connection to the broker, already authenticated; use it in a `with`."""

    def __init__(self, sock: socket.socket, where: str) -> None:
        self.where = where
        self._sock = sock
        self._replies = Replies(sock.recv)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the connection is of no use afterwards."""
        self._sock.close()

    def pipeline(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send all commands at once and return a reply for each; error replies are values (ReplyError)."""
        try:
            self._sock.sendall(b"".join(map(encode, commands)))
            return [self._replies.read() for _ in commands]
        except (OSError, EOFError, _ProtocolError) as error:
            self.close()
            raise BrokerError(self.where, _reason(error, self._sock.gettimeout())) from error

    def call(self, *command: Word) -> Reply:
        """Send one command and return its reply; an error reply is raised as BrokerError."""
        reply = self.pipeline([command])[0]
        if isinstance(reply, ReplyError):
            raise BrokerError(self.where, explain(reply))
        return reply


def connect(url: str, timeout: float = 2.0) -> Connection:
    """Connect to a Celery broker URL, log in, choose the database and see it answer PING.

    `timeout` is seconds for each step. Of the `;`-separated URLs of a failover list the first that answers is
    taken. Raises BrokerError.
    """
    *first, last = [part for part in url.split(";") if part] or [url]
    for part in first:
        try:
            return _connect(part, timeout)
        except BrokerError:
            continue
    return _connect(last, timeout)


def encode(command: Sequence[Word]) -> bytes:
    """Return a command as an array of bulk strings."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def explain(error: ReplyError) -> str:
    """Say what an error reply means, in the words of a person where it is one of the handshake's."""
    return next((text for start, text in _REFUSALS.items() if error.startswith(start)), f"it says: {error}")


class _Target:
    """Where a broker URL points, in the forms that kombu and redis-py read."""

    def __init__(self, url: str) -> None:
        from urllib.parse import parse_qsl, unquote, urlsplit

        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.path = ""
        self.tls: Mapping[str, str] | None = None
        if parts.scheme in ("redis+socket", "unix", "socket"):
            self.where = self.path = unquote(parts.path)
            database = query.get("virtual_host") or query.get("db") or ""
        elif parts.scheme in ("redis", "rediss"):
            self.host = parts.hostname or "127.0.0.1"
            try:
                self.port = parts.port or 6379
            except ValueError:
                raise BrokerError(self.host, _BAD_PORT) from None
            self.where = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
            self.tls = query if parts.scheme == "rediss" else None
            database = query.get("virtual_host") or query.get("db") or unquote(parts.path)
        else:
            raise BrokerError(f"{parts.scheme or 'broker'}://…", "this is not a Redis URL")
        database = database.strip("/") or "0"
        if not database.isdecimal():
            raise BrokerError(self.where, "the database in its URL is not a number")
        self.database = int(database)


def _connect(url: str, timeout: float) -> Connection:
    try:
        target = _Target(url)
    except ValueError as error:
        raise BrokerError("broker", f"its URL cannot be read: {error}") from None
    try:
        sock = _open(target, timeout)
    except (OSError, ValueError) as error:
        raise BrokerError(target.where, _reason(error, timeout)) from error
    connection = Connection(sock, target.where)
    words: list[list[Word]] = []
    if target.password:
        words.append(["AUTH", target.user, target.password] if target.user else ["AUTH", target.password])
    if target.database:
        words.append(["SELECT", target.database])
    for reply in connection.pipeline([*words, ["PING"]]):
        if isinstance(reply, ReplyError):
            connection.close()
            raise BrokerError(target.where, _masked(explain(reply), target.password))
    return connection


def _masked(text: str, password: str) -> str:
    # an unknown command is echoed by the server with its first arguments
    return text.replace(password, "***") if password else text


def _open(target: _Target, timeout: float) -> socket.socket:
    if not target.path:
        sock = socket.create_connection((target.host, target.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if target.tls is None else _secured(sock, target.host, target.tls)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(target.path)
    except OSError:
        sock.close()
        raise
    return sock


def _secured(sock: socket.socket, host: str, options: Mapping[str, str]) -> socket.socket:
    import ssl

    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_") != "required":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"))
        return context.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


def _reason(error: Exception, timeout: float | None) -> str:
    match error:
        case _ProtocolError():
            return "what answers there is not Redis"
        case EOFError() | ConnectionResetError() | BrokenPipeError():
            return "it closed the connection"
        case TimeoutError():
            return f"no answer within {timeout:g} s"
        case ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case FileNotFoundError():
            return "there is no such socket"
        case PermissionError():
            return "this user may not connect to it"
        case socket.gaierror():
            return "this host name is unknown"
        case OSError() if type(error).__module__ == "ssl":
            return f"TLS: {error.strerror or error}"
    return str(getattr(error, "strerror", "") or error)
