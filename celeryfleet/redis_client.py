"""Talks to Redis or Valkey without redis-py, whose import alone takes 0.12 s; knows nothing of the fleet.

It speaks RESP2, and understands of RESP3 what a client that asked for it is sent here: pushes, maps, null.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from celeryfleet.endpoint import BrokerError as BrokerError
from celeryfleet.endpoint import Endpoint, Refusal, explained_tls, names_authorities, secured

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Word: TypeAlias = str | bytes | int | float
    Reply: TypeAlias = "bytes | int | ReplyError | Push | list[Reply] | None"

#: bytes asked for at a time
_CHUNK = 65536
_CLUSTER = "it is a node of a Redis Cluster, which Celery cannot work with: use one Redis, or one behind sentinels"
_NAMELESS = "which master the sentinels are to be asked for is not said: broker_transport_options: {master_name: …}"
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
    "ERR SELECT is not allowed in cluster": _CLUSTER,
    "MOVED": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
    "ERR max number of clients": "it takes no more clients (maxclients)",
}


_CLOSED = "it closed the connection"
#: error replies that go away by waiting
_PASSING = ("LOADING", "MASTERDOWN", "ERR max number of clients")


class ReplyError(str):
    """An error reply, as a value: `WRONGTYPE Operation against a key …`."""

    __slots__ = ()


class Push(list["Reply"]):
    """What the server says unasked, to a client that speaks RESP3."""

    __slots__ = ()


class ProtocolError(Exception):
    """What came is no reply of Redis."""


class Replies:
    """Parses the replies out of whatever pieces `recv(size)` hands over."""

    def __init__(self, recv: Callable[[int], bytes]) -> None:
        #: bytes of one value at most
        self.limit = 1 << 62
        self._recv = recv
        self._buffer = bytearray()
        self._at = 0

    @property
    def begun(self) -> bool:
        """Whether bytes have come that are not read yet."""
        return bool(self._buffer)

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
        if kind == b"_":
            return None
        if kind not in (b":", b"$", b"*", b">", b"%"):
            raise ProtocolError
        try:
            number = int(rest)
        except ValueError:
            raise ProtocolError from None
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"$":
            return self._bulk(number)
        items = [self._read() for _ in range(number * 2 if kind == b"%" else number)]
        return Push(items) if kind == b">" else items

    def _line(self) -> bytes:
        start = self._at
        while (end := self._buffer.find(b"\r\n", start)) < 0:
            start = max(self._at, len(self._buffer) - 1)
            if start - self._at > _CHUNK:
                raise ProtocolError
            self._fill(_CHUNK)
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, size: int) -> bytes:
        if size > self.limit:
            raise ProtocolError
        end = self._at + size
        while (missing := end + 2 - len(self._buffer)) > 0:
            self._fill(max(missing, _CHUNK))
        if self._buffer[end : end + 2] != b"\r\n":
            raise ProtocolError
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

    def limit(self, size: int) -> None:
        """Take no value of more bytes: one that strangers may have written."""
        self._replies.limit = size

    def close(self) -> None:
        """Close the socket; the connection is of no use afterwards."""
        self._sock.close()

    def pipeline(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send all commands at once and return a reply for each; error replies are values (ReplyError)."""
        try:
            self._sock.sendall(b"".join(map(encode, commands)))
            return [self._replies.read() for _ in commands]
        except (OSError, EOFError, ProtocolError) as error:
            self.close()
            raise BrokerError(self.where, _reason(error, self._sock.gettimeout())) from error

    def call(self, *command: Word) -> Reply:
        """Send one command and return its reply; an error reply is raised as BrokerError."""
        return self.calls([command])[0]

    def calls(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send all commands at once and return a reply for each; the first error reply is raised as BrokerError."""
        replies = self.pipeline(commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise BrokerError(self.where, explain(reply))
        return replies


def connect(url: str, timeout: float = 2.0, settings: Mapping[str, Any] | None = None) -> Connection:
    """Connect to a Celery broker URL, log in, choose the database and see it answer PING.

    `settings` are Celery's that say how (TLS, sentinels), as a Plan has them; `timeout` is seconds for each step. Of
    the `;`-separated URLs of a failover list the first that answers is taken; of sentinels, the master that they
    name. Raises BrokerError.
    """
    troubles = []
    for part in [part for part in url.split(";") if part] or [url]:
        try:
            return _reached(part, timeout, settings or {})
        except BrokerError as error:
            troubles.append(error)
    # who answers and refuses tells more than who is away
    raise next((error for error in troubles if isinstance(error.reason, Refusal)), troubles[-1])


def encode(command: Sequence[Word]) -> bytes:
    """Return a command as an array of bulk strings."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def explain(error: ReplyError) -> str:
    """Say what an error reply means, in the words of a person where it is one of the handshake's."""
    if error.startswith("NOPERM"):
        return f"its access list does not let this user do that: {error.removeprefix('NOPERM ')}"
    return next((text for start, text in _REFUSALS.items() if error.startswith(start)), f"it says: {error}")


def _reached(url: str, timeout: float, settings: Mapping[str, Any]) -> Connection:
    try:
        endpoint = Endpoint(url, settings)
    except ValueError as error:
        raise BrokerError("broker", f"its URL cannot be read: {error}") from None
    if url.startswith("sentinel:"):
        endpoint = _master(endpoint, settings.get("broker_transport_options") or {}, timeout)
    connection = _connect(endpoint, timeout)
    if endpoint.path:
        return connection
    kind, role = connection.pipeline([["INFO", "cluster"], ["ROLE"] if endpoint.named else ["PING"]])
    refused = ""
    if isinstance(kind, bytes) and b"cluster_enabled:1" in kind:
        refused = Refusal(_CLUSTER)
    elif isinstance(role, list) and role[:1] != [b"master"]:
        refused = "the sentinel names it as the master, but it is a replica"
    if refused:
        connection.close()
        raise BrokerError(endpoint.where, refused)
    return connection


def _master(endpoint: Endpoint, options: Mapping[str, Any], timeout: float) -> Endpoint:
    """Ask a sentinel for the master."""
    name = options.get("master_name")
    if not name:
        raise BrokerError(endpoint.where, Refusal(_NAMELESS))
    with _connect(endpoint.sentinel(options.get("sentinel_kwargs") or {}), timeout) as sentinel:
        found = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
    match found:
        case [bytes(host), bytes(port)]:
            return endpoint.leader(host.decode(), int(port))
    raise BrokerError(
        endpoint.where, Refusal(f'this sentinel knows no master "{name}"; broker_transport_options names it')
    )


def _connect(endpoint: Endpoint, timeout: float) -> Connection:
    """Connect to one server, and log in."""
    try:
        sock = _open(endpoint, timeout)
    except (OSError, ValueError) as error:
        raise BrokerError(endpoint.where, _reason(error, timeout)) from error
    connection = Connection(sock, endpoint.where)
    words: list[list[Word]] = []
    if endpoint.password:
        words.append(["AUTH", *filter(None, [endpoint.user]), endpoint.password])
    if endpoint.database:
        words.append(["SELECT", endpoint.database])
    try:
        replies = connection.pipeline([*words, ["PING"]])
    except BrokerError as error:
        if endpoint.path or error.reason != _CLOSED:
            raise
        told = (
            f"{_CLOSED}; does it want TLS (rediss://)?" if endpoint.tls is None else explained_tls("HANDSHAKE_FAILURE")
        )
        raise BrokerError(endpoint.where, told or _CLOSED) from error
    for reply in replies:
        if isinstance(reply, ReplyError):
            connection.close()
            told = _masked(explain(reply), endpoint.password)
            raise BrokerError(endpoint.where, told if reply.startswith(_PASSING) else Refusal(told))
    return connection


def _masked(text: str, password: str) -> str:
    # an unknown command is echoed by the server with its first arguments
    return text.replace(password, "***") if password else text


def _open(endpoint: Endpoint, timeout: float) -> socket.socket:
    tls = endpoint.tls
    if endpoint.path or tls is None:
        return _plain(endpoint, timeout)
    named = names_authorities(tls)
    try:
        return secured(_plain(endpoint, timeout), endpoint.host, tls, machine=not named)
    except ValueError as error:
        if not named or type(error).__name__ != "SSLCertVerificationError":
            raise
    return secured(_plain(endpoint, timeout), endpoint.host, tls, machine=True)


def _plain(endpoint: Endpoint, timeout: float) -> socket.socket:
    if not endpoint.path:
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(endpoint.path)
    except OSError:
        sock.close()
        raise
    return sock


def _reason(error: Exception, timeout: float | None) -> str:
    match error:
        case ValueError(args=[Refusal() as told]):
            return told
        case ProtocolError():
            return "what answers there is not Redis"
        case EOFError() | ConnectionResetError() | BrokenPipeError():
            return _CLOSED
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
            return explained_tls(str(error)) or Refusal(f"TLS: {error.strerror or error}")
    return str(getattr(error, "strerror", "") or error)
