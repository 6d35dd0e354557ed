"""Many messages to Redis: one LPUSH for each list and batch, where kombu would push them one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from kombu.transport import redis as transport
from redis.exceptions import ResponseError

from celeryfleet.client.bulk.publishers import BatchError, BatchPublisher, Copy, Publish, Recording, Repeat
from celeryfleet.client.bulk.template import Made, Payload, Template, TextTemplate
from celeryfleet.errors import Exit
from celeryfleet.redis_client import encode

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

#: a command's name, its key, and the rest
Command: TypeAlias = tuple[Any, ...]
#: takes a message as kombu has made it, and the commands for it
Take: TypeAlias = Callable[[dict[str, Any], Sequence[Command]], None]
#: commands that kombu gives for a message, and that may stand in a template
_COPIED = ("LPUSH", "PEXPIRE")
_HINT = "`celeryfleet status` says how the fleet is."
#: what an error reply means, by its first word
_REPLIES = {
    "OOM": ("it has no memory left (maxmemory, with the policy noeviction)", "Let workers catch up, or give it more."),
    "READONLY": ("it is a replica, which takes no writes", "Is `broker:` the address of the master?"),
    "MISCONF": ("it cannot write to its disk, and takes nothing until it can", "Its log says why."),
    "NOPERM": ("this user may not LPUSH", "Give it the rights that Celery needs."),
    "WRONGTYPE": ("a key with the name of the queue holds something else", "Does another program use this database?"),
}


class RedisPublisher(BatchPublisher):
    """A batch publisher to Redis by TCP, TLS, a unix socket or sentinels."""

    reason = ""

    def __init__(self, app: Celery, channel: Any) -> None:
        super().__init__(app, Recording(channel))
        self._channel = channel
        self._prefix = str(channel.global_keyprefix)
        self._connection = channel.pool.get_connection()
        self._made: list[Made] = []
        #: the batch: messages in RESP by list, and commands besides
        self._pushes: dict[str, list[str]] = {}
        self._others: list[bytes] = []
        #: how many replies are to come
        self._awaited = 0

    @staticmethod
    def fits(connection: Connection) -> bool:
        """Tell whether a connection is one to Redis, by kombu's own code."""
        return type(connection.transport) in (transport.Transport, transport.SentinelTransport)

    @classmethod
    @contextmanager
    def on(cls, app: Celery, connection: Connection) -> Iterator[RedisPublisher]:
        """Open a publisher on a connection."""
        channel = connection.channel()
        publisher = cls(app, channel)
        try:
            with _recording(channel, publisher._take):
                yield publisher
        finally:
            publisher._connection.disconnect()
            channel.pool.release(publisher._connection)

    def make(self, publish: Publish) -> tuple[str, list[Made]]:
        """Have Celery make a message, into the batch."""
        self._made = []
        return publish(self._producer), self._made

    def _take(self, message: dict[str, Any], commands: Sequence[Command]) -> None:
        """Put into the batch what kombu would have sent for a message."""
        for name, key, *values in commands:
            if name == "LPUSH":
                self._push(key, [str(value) for value in values])
            else:
                self._others.append(encode((name, f"{self._prefix}{key}", *values)))
        target = tuple(command[:2] if command[0] == "LPUSH" else command for command in commands)
        headers, properties = message["headers"], message["properties"]
        self._made.append(self._producer.made(headers, properties, message["body"], target, message))

    def _push(self, key: str, texts: Sequence[str]) -> None:
        pieces = [f"${len(text if text.isascii() else text.encode())}\r\n{text}\r\n" for text in texts]
        self._pushes.setdefault(key, []).extend(pieces)
        self.size += sum(map(len, pieces))

    # --- Copies -------------------------------------------------------------------------------------------

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message to the batch; None: it is no push alone."""
        target, encoding = template.made.target, template.properties.get("body_encoding")
        if not target or encoding != "base64" or any(command[0] not in _COPIED for command in target):
            return None
        text = TextTemplate(template)
        keys = [command[1] for command in target if command[0] == "LPUSH"]
        expiries = self._expiries(target)

        def copy(payload: Payload, task_id: str, tag: str, sent: float) -> None:
            message = text.write(payload, task_id, tag, repr(sent))
            piece = f"${len(message)}\r\n{message}\r\n"
            for key in keys:
                self._pushes.setdefault(key, []).append(piece)
            self.size += len(piece)
            if expiries and expiries[0] not in self._others:
                self._others.extend(expiries)

        return copy

    def repeater(self, template: Template, payload: Payload) -> Repeat:
        """Return what adds messages with the same arguments to the batch."""
        form = TextTemplate(template).of(payload)
        keys = [command[1] for command in template.made.target if command[0] == "LPUSH"]
        expiries = self._expiries(template.made.target)

        def repeat(ids: Sequence[str], tags: Sequence[str], sent: float) -> None:
            now = repr(sent)
            values = zip(ids, tags, strict=True)
            texts = [form % {"id": task_id, "tag": tag, "sent": now} for task_id, tag in values]
            for key in keys:
                self._push(key, texts)
            self._others.extend(expiries)

        return repeat

    def _expiries(self, target: Sequence[Command]) -> list[bytes]:
        """Return the commands that give the lists their time to live; once a batch will do."""
        found = (command for command in target if command[0] == "PEXPIRE")
        return [encode((name, f"{self._prefix}{key}", *values)) for name, key, *values in found]

    # --- Batches ------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Write the batch, all or nothing."""
        pushes = [self._lpush(key, pieces) for key, pieces in self._pushes.items()]
        commands = pushes + self._others
        self._pushes, self._others, self.size = {}, [], 0
        if not commands:
            return
        if len(commands) > 1:
            commands = [encode(["MULTI"]), *commands, encode(["EXEC"])]
        self._awaited = len(commands)
        with self._lost():
            self._connection.send_packed_command([b"".join(commands)])

    def _lpush(self, key: str, pieces: Sequence[str]) -> bytes:
        name = f"{self._prefix}{key}"
        head = f"*{len(pieces) + 2}\r\n$5\r\nLPUSH\r\n${len(name.encode())}\r\n{name}\r\n"
        return "".join((head, *pieces)).encode()

    def settle(self) -> None:
        """Read the replies."""
        awaited, self._awaited = self._awaited, 0
        refusal: ResponseError | None = None
        reply: Any = None
        with self._lost():
            for _ in range(awaited):
                try:
                    reply = self._connection.read_response()
                except ResponseError as error:
                    refusal = refusal or error  # the first says why; that of EXEC only that another did
        within = [part for part in reply if isinstance(part, Exception)] if isinstance(reply, list) else []
        if refusal is not None:
            raise _refused(refusal, unsure=False)
        if within:
            raise _refused(within[0], unsure=True)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except self._channel.connection_errors as error:
            raise BatchError(f"it was lost: {str(error) or type(error).__name__}", _HINT, Exit.BROKER) from error


def _refused(error: Exception, unsure: bool) -> BatchError:
    # redis-py cuts the first word off where it knows it, and has a class for it instead
    word = {"OutOfMemoryError": "OOM", "ReadOnlyError": "READONLY", "NoPermissionError": "NOPERM"}.get(
        type(error).__name__, str(error).partition(" ")[0]
    )
    what, hint = _REPLIES.get(word, (f"it says: {error}", _HINT))
    return BatchError(what, hint, Exit.BROKER, unsure)


# --- What kombu would send ----------------------------------------------------------------------------------


@contextmanager
def _recording(channel: Any, take: Take) -> Iterator[None]:
    """Have a kombu channel hand its messages over; declarations and look-ups still go to the server."""
    kind, client = type(channel), _RecordingClient(channel)

    def basic_publish(message: dict[str, Any], exchange: str, routing_key: str, **options: Any) -> None:
        commands: list[Command] = []
        client.commands = commands
        try:
            kind.basic_publish(channel, message, exchange, routing_key, **options)
        finally:
            client.commands = None
        take(message, commands)

    @contextmanager
    def conn_or_acquire(other: Any = None) -> Iterator[Any]:
        if client.commands is not None:
            yield client
        else:
            with kind.conn_or_acquire(channel, other) as real:
                yield real

    channel.basic_publish, channel.conn_or_acquire = basic_publish, conn_or_acquire
    try:
        yield
    finally:
        del channel.basic_publish, channel.conn_or_acquire


class _RecordingClient:
    """The part of a Redis client that kombu publishes with, and its pipeline as well."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        #: of the message in hand; None: there is none
        self.commands: list[Command] | None = None
        #: bindings of exchanges; they are looked up once
        self._bindings: dict[str, Any] = {}

    def __enter__(self) -> _RecordingClient:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def pipeline(self, **_: Any) -> _RecordingClient:
        """Return what takes several commands."""
        return self

    def execute(self) -> None:
        """Do nothing: all is noted."""

    def lpush(self, key: str, *values: Any) -> None:
        """Note a message for a list."""
        self._note("LPUSH", key, *values)

    def publish(self, topic: str, payload: Any) -> None:
        """Note a message for those who listen."""
        self._note("PUBLISH", topic, payload)

    def pexpire(self, key: str, milliseconds: int) -> None:
        """Note for how long a list may be idle."""
        self._note("PEXPIRE", key, milliseconds)

    def smembers(self, key: str) -> Any:
        """Return the bindings of an exchange."""
        if key not in self._bindings:
            with type(self._channel).conn_or_acquire(self._channel) as real:
                self._bindings[key] = real.smembers(key)
        return self._bindings[key]

    def _note(self, *command: Any) -> None:
        if self.commands is not None:
            self.commands.append(command)
