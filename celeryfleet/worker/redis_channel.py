"""The Redis channel of a worker: what it does otherwise than kombu's, by subclasses of it.

kombu pops a message and then notes it among the unacknowledged ones: who dies in between takes it along. Here both is
one step at the server, the claim. An idle worker does not block there either: having found its queues empty, it is
told when one of them changes (Redis' client-side caching). Claims and acknowledgements go over one connection on
which nobody waits for a reply.

No module of the worker but this one, redis_qos.py, redis_transport.py and redis_restore.py leans on private names of
kombu's. Seen in kombu 5.7.0; tests/unit/worker/test_seam.py and tests/services/worker fail when they change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery.utils.log import get_logger
from kombu.transport import redis
from kombu.utils.json import dumps
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import NoPermissionError, ResponseError

from celeryfleet.redis_client import Push, ReplyError
from celeryfleet.worker.ownership import said
from celeryfleet.worker.redis_claim import GREETING, LOAD, Claim
from celeryfleet.worker.redis_qos import QoS
from celeryfleet.worker.redis_wire import Wire

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply, Word
    from celeryfleet.worker.ownership import Ownership

logger = get_logger(__name__)

#: messages claimed at once where the prefetch count sets no limit
_MANY = 64
#: seconds between two looks into queues that were empty, in case that those who watch are gone or stand still;
#: of those who have not looked for three the script knows nothing
_LOOK = 1.0
#: seconds that a reply may take while the channel closes
_PATIENCE = 5.0
#: how an error reply begins that is about the server rather than about what was asked
_GONE = ("LOADING", "READONLY", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN")
#: what Redis says where a user may run a script, but not what is in it
DENIED = "can't run this command"
_SILENT = "this worker was silent for too long: others have brought back what it had taken. It starts over"
_POPPED = "Redis refuses %s: %s. Messages are popped: this worker may lose some when it is killed"


def refused(error: Exception) -> bool:
    """Tell whether Redis does not let this user do what was asked."""
    return isinstance(error, NoPermissionError) or (isinstance(error, ResponseError) and DENIED in str(error))


class Channel(redis.Channel):  # type: ignore[misc]
    """Claims messages, reads queue by queue, and outlives its connection."""

    QoS = QoS
    from_transport_options = (*redis.Channel.from_transport_options, "reading_order")

    #: the queues that are read in this order, rather than by turns
    reading_order: Sequence[str] = ()
    #: what is done with (delivery tag, requeue) once the connection is lost
    settle: Callable[[str, bool], None] | None = None
    #: the connection by which messages are claimed and acknowledged, once there is one; replies are about a claim,
    #: an acknowledged tag, a sign of life or nothing
    wire: Wire[Claim | Ownership | str] | None = None
    #: of this worker's node, where others share the broker
    ownership: Ownership | None = None
    #: brings back what dead nodes had taken
    sweep: Callable[[list[str]], object] = staticmethod(lambda nodes: None)
    #: whether messages are popped, as kombu does
    pops = False
    #: sends a message to a list by a client, if it has to do with it: the lease of a beat (redis_lease.py)
    fence: Callable[[Any, str, str], bool] | None = None
    #: counts the tasks that could begin at once
    room: Callable[[], int] = staticmethod(lambda: _MANY)
    #: since when nothing is asked, for there was nothing
    _idle_since: float | None = None
    #: whether that is so until there is room
    _busy = False
    #: the thread that takes messages; others may acknowledge
    _thread = 0
    _shared_client: Any = None
    _last_refusal = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        #: how the tags of claimed messages begin
        self.tags = f"{uuid4().hex}-"
        self._claimed = 0
        #: what the server would not take the acknowledgement of
        self._refused: set[str] = set()
        super().__init__(*args, **options)

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Lend a client, one for all, where kombu makes one for each use."""
        if client is None:
            if self._shared_client is None:
                self._shared_client = self._create_client()
            client = self._shared_client
        yield client

    def _disconnect_pools(self) -> None:
        self._shared_client = None
        super()._disconnect_pools()

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Bind a queue: for good, as kombu did before 5.7, where it may not run its script that has bindings expire."""
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as error:
            if not refused(error) or self._expires.pop(queue, None) is None:
                raise
            logger.warning("the binding of %s to %s will not expire: %s", queue, exchange, error)
            super()._queue_bind(exchange, routing_key, pattern, queue)

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        """Send a message to a queue."""
        if self.fence is not None:
            key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
            with self.conn_or_acquire() as client:
                if self.fence(client, self.global_keyprefix + key, dumps(message)):
                    return
        super()._put(queue, message, **options)

    # --- taking ---

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **options: Any) -> Any:
        """Consume from a queue; what needs no acknowledgement is popped."""
        self.pops = self.pops or (no_ack and queue not in self._fanout_queues)
        return super().basic_consume(queue, no_ack, *args, **options)

    def _update_queue_cycle(self) -> None:
        super()._update_queue_cycle()
        self.look()  # the queues are others now

    def look(self) -> None:
        """Ask again."""
        if self._idle_since is not None:
            self._idle_since, self._in_poll = None, None

    def look_in_time(self) -> None:
        """Ask again if it is time."""
        if self._idle_since is not None:
            late = monotonic() - self._idle_since >= _LOOK
            if late or (self._busy and self.room() > 0):
                self.look()

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Ask for messages."""
        if self.wire is None and not self.pops and not self._open_wire():
            return
        if self.wire is None:
            self._pop(timeout)
        elif self.wire.lost:
            raise LostError("the connection by which messages are taken was closed")
        else:
            self.wire.write(*self._claim())

    def _open_wire(self) -> bool:
        """Prepare the connection; tell whether it is of use, else the poller opens another."""
        wire: Wire[Claim | Ownership | str] = Wire(self.client.connection)
        for command in GREETING:
            reply = wire.ask(*command)
            if isinstance(reply, ReplyError):
                logger.warning(_POPPED, " ".join(command[:2]), reply)
                self.pops = True
                self.client.connection.disconnect()
                return False
        self.wire, self._thread = wire, get_ident()
        return True

    def _in_order(self) -> list[str]:
        """Name the queues as they are to be read."""
        rank = {name: number for number, name in enumerate(self.reading_order)}
        names = self._queue_cycle.consume(len(self.active_queues))
        return sorted(names, key=lambda name: rank.get(name, len(rank)))

    def _claim(self) -> Iterator[tuple[Claim | Ownership | str, tuple[Word, ...]]]:
        """Return the command that claims what may be taken, if anything may."""
        names, free, room = self._in_order(), self._free(), self.room()
        if not names or not free:
            return
        for tag in tuple(self._refused):
            self._refused.discard(tag)
            yield from self._settling(tag)
        claim = Claim(
            self.unacked_key,
            self.unacked_index_key,
            {name: [self._q_for_pri(name, step) for step in self.priority_steps] for name in names},
            count=free if room < 1 else min(free, room),
            tags=self.tags,
            first=self._claimed,
            turns=self.queue_order_strategy == "round_robin",
            busy=room < 1,
            owned=(own.owners, own.node, own.owner) if (own := self.ownership) else ("", "", ""),
        )
        self._claimed += claim.count
        self._in_poll, self._brpop_sent_at = self.client.connection, monotonic()
        yield claim, claim.command(self.global_keyprefix)

    def _free(self) -> int:
        """Count how many messages may be taken."""
        if "can_consume" in vars(self.qos):  # of worker_disable_prefetch, which does not tell
            return 1
        return int(self.qos.can_consume_max_estimate()) if self.qos.prefetch_count else _MANY

    def _brpop_read(self, **options: Any) -> bool:
        """Take in what the server has said."""
        if self.wire is None:
            return bool(super()._brpop_read(**options))
        for about, reply in self.wire.read():
            if isinstance(about, Claim):
                self._receive_claimed(self.wire, about, reply)
            elif isinstance(reply, Push):
                self.look()
            elif about is not None and not isinstance(about, str):
                self._heard(about, reply)
            elif isinstance(reply, ReplyError):
                if about:
                    self._refused.add(about)
                self._say_refused(reply)
        if not self._in_poll and self.qos.can_consume() and self.active_queues:
            self._brpop_start()
        return True

    def _receive_claimed(self, wire: Wire[Claim | Ownership | str], claim: Claim, reply: Reply) -> None:
        self._in_poll = None
        answer, *entries = reply if isinstance(reply, list) else [b"idle"]
        if isinstance(reply, ReplyError):
            if reply.startswith("NOSCRIPT"):
                wire.write(("", LOAD))
            else:
                self._say_refused(reply)
        elif answer == b"lost":
            self._lose(_SILENT)
        if answer != b"more":
            self._idle_since, self._busy = monotonic(), answer == b"busy"
            self._in_poll = self.client.connection
        for message, queue in claim.messages(entries, self.message_to_python):
            self._queue_cycle.rotate(queue)
            self.connection._deliver(message, queue)

    def _lose(self, why: str) -> None:
        logger.warning("%s", why)
        self.client.connection.disconnect()
        raise LostError(why)

    def give_sign_of_life(self) -> None:
        """Have it known that this worker is alive."""
        own = self.ownership
        if own is not None and self.wire is not None:
            self.wire.write((own, own.sign(self.global_keyprefix)))
        elif own is not None and self.pops:
            with self.conn_or_acquire() as client:
                self._heard(own, said(client, own.sign(self.global_keyprefix)))

    def _heard(self, own: Ownership, reply: Reply) -> None:
        """Take in the answer to a sign of life."""
        if reply is None:
            self._lose(_SILENT)
        elif isinstance(reply, list) and (dead := own.heard(reply)):
            self.sweep(dead)

    def _say_refused(self, reply: ReplyError) -> None:
        if reply.startswith(_GONE):
            self._lose(f"Redis says: {reply}")
        if reply.startswith("NOPERM") or DENIED in reply:
            logger.warning(_POPPED, "the claim", reply)
            type(self).pops = True  # the channel of the next connection does
            self.client.connection.disconnect()
            raise LostError("messages are popped from now on")
        if reply != self._last_refusal:
            self._last_refusal = str(reply)
            logger.error("Redis refuses to have messages taken or acknowledged, it is tried again: %s", reply)

    def _poll_error(self, kind: str, **options: Any) -> None:
        if kind == "BRPOP" and self.wire is not None:
            self._brpop_read()
        else:
            super()._poll_error(kind, **options)

    def _flush_brpop_reauth(self) -> None:
        """Connect anew where a token has expired: replies are on their way at any time."""
        if self.wire is None:
            super()._flush_brpop_reauth()
        elif self._pending_reauth_token(self.client.connection) is not None:
            self.client.connection.set_re_auth_token(None)
            self.client.connection.disconnect()

    def _pop(self, timeout: float | None) -> None:
        """Pop from one queue, most urgent first, before anything of the next: as RabbitMQ counts priorities.

        kombu goes through the priority steps first and through the queues within each: an urgent message of the last
        queue would overtake a plain one of the first. And a queue that was paused would come back as the last one.
        """
        lists = iter([self._q_for_pri(name, step) for name in self._in_order() for step in self.priority_steps])
        # It names its lists one by one in its own order, and is given them in ours.
        self.__dict__["_q_for_pri"] = lambda name, step: next(lists)
        try:
            super()._brpop_start(timeout)
        finally:
            del self.__dict__["_q_for_pri"]

    # --- acknowledging ---

    def has(self, delivery_tag: str) -> bool:
        """Tell whether this channel has taken a message, also if it has not read the server's answer yet."""
        return delivery_tag.startswith(self.tags) or delivery_tag in self.qos._delivered

    def acknowledge(self, wire: Wire[Claim | Ownership | str], delivery_tag: str) -> None:
        """Write an acknowledgement, and ask for the next message with it."""
        commands = self._settling(delivery_tag)
        if not self._in_poll and get_ident() == self._thread and self.qos.can_consume():
            commands += self._claim()
        try:
            wire.write(*commands)
        except LostError:  # it stays owed, and is settled by the next connection
            if self.settle is not None:  # what is owed has been handed over already, while a thread of ours came here
                self.settle(delivery_tag, False)

    def _settling(self, delivery_tag: str) -> list[tuple[Claim | Ownership | str, tuple[Word, ...]]]:
        """Return the commands of an acknowledgement: the message goes before its place, by which it is found."""
        message = ("HDEL", self.global_keyprefix + self.unacked_key, delivery_tag)
        place = ("ZREM", self.global_keyprefix + self.unacked_index_key, delivery_tag)
        return [(delivery_tag, message), (delivery_tag, place)]

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message, by another connection if ours is lost."""
        if self.settle is None:
            super().basic_ack(delivery_tag, multiple)
        else:
            self.settle(delivery_tag, False)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a message back or drop it, by another connection if ours is lost."""
        if self.settle is None:
            super().basic_reject(delivery_tag, requeue)
        else:
            self.settle(delivery_tag, requeue)

    # --- ending ---

    def lose(self, settle: Callable[[str, bool], None]) -> None:
        """Have messages settled elsewhere, and put none back when this channel is closed.

        kombu would requeue all that was taken, and raise an AttributeError, which ends the worker, when a task of a
        closed channel acknowledges.
        """
        self.do_restore = False
        self.settle = settle
        if self.wire is not None:
            for tag in {about for about in self.wire.owing() if isinstance(about, str) and about} | self._refused:
                settle(tag, False)
            self.client.connection.disconnect()
            self.wire, self._in_poll = None, None

    def close(self) -> None:
        """Close, having given back what was claimed last."""
        wire, self.wire = self.wire, None
        if wire is not None and not wire.lost:
            self._in_poll = None
            try:
                for about, reply in wire.close(_PATIENCE):
                    if isinstance(about, Claim) and isinstance(reply, list):
                        for message, _ in about.messages(reply[1:], self.message_to_python):
                            taken = self.Message(message, channel=self)
                            self.qos.append(taken, taken.delivery_tag)
            except LostError as error:
                logger.warning("what was taken last comes back when the next worker of this name starts: %s", error)
        super().close()
