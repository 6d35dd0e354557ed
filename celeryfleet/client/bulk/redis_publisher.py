"""Many messages to Redis: one LPUSH for each list and batch, where kombu would push them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as transport
from redis.exceptions import ResponseError

from celeryfleet.client.bulk import seam
from celeryfleet.client.bulk.publishers import HINT, BatchError, BatchPublisher, Copy, Recording, Repeat
from celeryfleet.client.bulk.template import Payload, Template, TextTemplate
from celeryfleet.errors import Exit
from celeryfleet.redis_client import encode

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Connection

#: what an error reply means, by its first word, or the class that redis-py has for it
_REPLIES = {
    "OOM": ("it has no memory left (maxmemory, with the policy noeviction)", "Let workers catch up, or give it more."),
    "READONLY": ("it is a replica, which takes no writes", "Is `broker:` the address of the master?"),
    "MISCONF": ("it cannot write to its disk, and takes nothing until it can", "Its log says why."),
    "NOPERM": ("this user may not LPUSH", "Give it the rights that Celery needs."),
    "WRONGTYPE": ("a key with the name of the queue holds something else", "Does another program use this database?"),
}
_CLASSES = {"OutOfMemoryError": "OOM", "ReadOnlyError": "READONLY", "NoPermissionError": "NOPERM"}


class RedisPublisher(BatchPublisher):
    """A batch publisher to Redis by TCP, TLS, a unix socket or sentinels."""

    reason = ""
    transports = (transport.Transport, transport.SentinelTransport)

    def __init__(self, app: Celery, connection: Connection) -> None:
        self._channel: Any = connection.channel()
        super().__init__(app, Recording(self._channel))
        seam.keep_bindings(self._channel, self._on_bind)
        self._channel.basic_publish = self._take
        self._prefix = str(self._channel.global_keyprefix)
        self._connection = self._channel.pool.get_connection()
        #: the batch: messages in RESP by list, and commands besides, each once
        self._pushes: dict[str, list[str]] = {}
        self._others: dict[seam.Command, None] = {}
        #: how many replies are to come
        self._awaited = 0

    def close(self) -> None:
        """Close the connection for the batches."""
        self._connection.disconnect()
        self._channel.pool.release(self._connection)

    def _on_bind(self) -> None:
        self.rebound = True

    def _take(self, message: dict[str, Any], exchange: str, routing_key: str, **options: Any) -> None:
        """Stand in for `channel.basic_publish`: put into the batch what kombu would send."""
        commands = seam.redis_commands(self._channel, message, exchange, routing_key, **options)
        pushes = [(key, str(text)) for name, key, text in commands if name == "lpush"]
        others = dict.fromkeys(command for command in commands if command[0] != "lpush")
        for key, text in pushes:
            self._push(key, (text,))
        self._others.update(others)
        target = ([key for key, _ in pushes], others)
        parts = {name: message[name] for name in ("headers", "properties", "body")}
        self._built.append(self._producer.message(**parts, target=target, raw=message))

    def _push(self, key: str, texts: Sequence[str]) -> None:
        pieces = [f"${len(text if text.isascii() else text.encode())}\r\n{text}\r\n" for text in texts]
        self._pushes.setdefault(key, []).extend(pieces)
        self.size += sum(map(len, pieces))

    # --- Copies -------------------------------------------------------------------------------------------

    def copier(self, template: Template) -> Copy | None:
        """Return what adds a message to the batch; None: it is no push alone."""
        keys, others = template.message.target
        published = any(command[0] == "publish" for command in others)
        if not keys or published or template.properties.get("body_encoding") != "base64":
            return None
        write = TextTemplate(template).write

        def copy(payload: Payload, task_id: str, tag: str, sent: float) -> None:
            text = write(payload, task_id, tag, repr(sent))
            for key in keys:
                self._push(key, (text,))
            self._others.update(others)

        return copy

    def repeater(self, template: Template, payload: Payload) -> Repeat:
        """Return what adds messages with the same arguments to the batch."""
        form = TextTemplate(template).of(payload)
        keys, others = template.message.target

        def repeat(ids: Sequence[str], tags: Sequence[str], sent: float) -> None:
            now = repr(sent)
            texts = [form % {"id": task_id, "tag": tag, "sent": now} for task_id, tag in zip(ids, tags, strict=True)]
            for key in keys:
                self._push(key, texts)
            self._others.update(others)

        return repeat

    # --- Batches ------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Write the batch, all or nothing."""
        others = [encode((name.upper(), f"{self._prefix}{key}", *values)) for name, key, *values in self._others]
        commands = [self._lpush(key, pieces) for key, pieces in self._pushes.items()] + others
        self._pushes, self._others, self.size = {}, {}, 0
        if len(commands) > 1:
            commands = [encode(["MULTI"]), *commands, encode(["EXEC"])]
        self._awaited = len(commands)
        if commands:
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
        if refusal is not None:
            raise _refused(refusal, unsure=False)
        within = [part for part in reply if isinstance(part, Exception)] if isinstance(reply, list) else []
        if within:
            raise _refused(within[0], unsure=True)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except self._channel.connection_errors as error:
            raise BatchError(f"it was lost: {str(error) or type(error).__name__}") from error


def _refused(error: Exception, unsure: bool) -> BatchError:
    # redis-py cuts the first word off where it knows it, and has a class for it instead
    word = _CLASSES.get(type(error).__name__, str(error).partition(" ")[0])
    what, hint = _REPLIES.get(word, (f"it says: {error}", HINT))
    return BatchError(what, hint, Exit.BROKER, unsure)
