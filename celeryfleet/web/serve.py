"""Serves the page until it is told to stop, or the fleet that it belongs to ends."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from celeryfleet.errors import Exit, FleetError
from celeryfleet.web import otel
from celeryfleet.web.app import application
from celeryfleet.web.live import Live
from celeryfleet.web.metrics import Metrics

if TYPE_CHECKING:
    from celeryfleet.web.fleet import Fleet
    from celeryfleet.web.guard import Rules

#: where it listens if nothing else is said
HOST, PORT = "127.0.0.1", 5580
#: seconds that requests have to end in
_GRACE = 2
#: connections at most, and of those that wait to be accepted; each holds a descriptor
_CONNECTIONS, _WAITING = 200, 500


def address(text: str) -> tuple[str, int]:
    """Read PORT, HOST, HOST:PORT or [HOST]:PORT. Raises FleetError."""
    host, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "")
    if text.isdecimal():
        host, port = HOST, text
    if (port and not (port.isdecimal() and int(port) < 65536)) or (":" in host and host[:1] + host[-1:] != "[]"):
        raise FleetError(f'"{text}" is no address.', hint="Write PORT, HOST or HOST:PORT: 127.0.0.1:8000, [::1]:8000.")
    return host.strip("[]") or HOST, int(port or PORT)


def is_local(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """Listen there. Raises FleetError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (socket.gaierror, UnicodeError):
        reason, other = "there is no such name", "127.0.0.1:PORT"
    except OSError as error:
        reason, other = os.strerror(error.errno or 0).lower(), "PORT"
    hint = f"Name another: celeryfleet ui {other}, or celeryfleet up --ui {other}"
    raise FleetError(f"{host}:{port} cannot be listened to: {reason}.", hint=hint, code=Exit.FAILURE)


def url(listener: socket.socket, rules: Rules) -> str:
    """Say where the page is."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{rules.root_path}/"


def serve(fleet: Fleet, rules: Rules, listener: socket.socket, proxies: list[str], ends: int | None = None) -> None:
    """Serve until a signal; with `ends`, until nothing holds the other end of this descriptor any more."""
    metrics = Metrics(fleet.status, fleet.ledger_file, fleet.hosts)
    end = otel.start(metrics, rules.fleet, os.environ)
    try:
        asyncio.run(_serve(fleet, rules, metrics, listener, proxies, ends))
    finally:
        end()


async def _serve(
    fleet: Fleet, rules: Rules, metrics: Metrics, listener: socket.socket, proxies: list[str], ends: int | None
) -> None:
    live = Live(fleet)
    server = _Server(
        uvicorn.Config(
            application(fleet, rules, live, metrics),
            http=_Connection,
            backlog=_WAITING,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
            timeout_graceful_shutdown=_GRACE,
        ),
        live,
    )
    if ends is not None:
        asyncio.get_running_loop().add_reader(ends, server.handle_exit, signal.SIGTERM, None)
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again when it is done
        signal.signal(number, lambda *_: None)
    await server.serve([listener])


class _Connection(H11Protocol):
    """A connection; where there are too many, the oldest that has not said a whole request is ended, else the oldest.

    uvicorn waits for the rest of a request for ever, and its limit_concurrency turns away those who have said all.
    """

    def connection_made(self, transport: Any) -> None:
        """Take note of it."""
        super().connection_made(transport)
        self._since = self.loop.time()
        known: set[Any] = self.connections
        if len(known) > _CONNECTIONS:
            oldest = min(known, key=lambda one: (one.conn.their_state is h11.DONE, one._since))
            known.discard(oldest)
            oldest.transport.abort()


class _Server(uvicorn.Server):
    """A server whose streams end with it."""

    def __init__(self, config: uvicorn.Config, live: Live) -> None:
        super().__init__(config)
        self._live = live

    def handle_exit(self, sig: int, frame: Any) -> None:
        """End the streams, for which it would wait."""
        self._live.close()
        super().handle_exit(sig, frame)
