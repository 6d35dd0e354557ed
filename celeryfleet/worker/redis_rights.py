"""What a worker does where its user may run no scripts on Redis, which kombu 5.7 needs for two things."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery.utils.log import get_logger
from kombu.transport import redis
from redis.exceptions import NoPermissionError, ResponseError

logger = get_logger(__name__)


def _is_denied(error: ResponseError) -> bool:
    """Tell whether a user may not run a script, or what is in it."""
    return isinstance(error, NoPermissionError) or "can't run this command" in str(error)


class QoS(redis.QoS):  # type: ignore[misc]
    """Looks for what is overdue, although its lock can't be given back: it expires by itself."""

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Put back what others have not acknowledged in time."""
        with suppress(NoPermissionError):
            super().restore_visible(*args, **options)


class Channel(redis.Channel):  # type: ignore[misc]
    """Binds queues that expire, such as those of remote control, for good: as kombu did before 5.7."""

    QoS = QoS
    _binds_for_good = False

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            super()._queue_bind(exchange, routing_key, pattern, queue)
        except ResponseError as error:
            if queue not in self._expires or not _is_denied(error):
                raise
            logger.warning("the binding of %s to %s will not expire: %s", queue, exchange, error)
            self._binds_for_good, expires = True, self._expires.pop(queue)
            super()._queue_bind(exchange, routing_key, pattern, queue)
            self._expires[queue] = expires

    def maybe_refresh_binding_expiry(self) -> None:
        """Keep bindings that would expire, if there are any."""
        if not self._binds_for_good:
            super().maybe_refresh_binding_expiry()
