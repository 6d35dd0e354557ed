"""The page's routes: what a browser gets, and what it may have done."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import celeryfleet
from celeryfleet.errors import Exit, FleetError
from celeryfleet.web import probes
from celeryfleet.web import token as tokens
from celeryfleet.web.guard import Guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from celeryfleet.web.fleet import Fleet
    from celeryfleet.web.guard import Rules
    from celeryfleet.web.live import Live
    from celeryfleet.web.metrics import Metrics

#: bytes of a request, and streams that are open, at most
_MOST, _STREAMS = 65_536, 100
_STATUS = {Exit.BROKER: 503, Exit.NOT_READY: 503, Exit.TIMEOUT: 504}


class _Json(JSONResponse):
    """A document in ASCII: what tasks say may hold half of a surrogate pair, which UTF-8 can't."""

    def render(self, content: Any) -> bytes:
        """Write it."""
        return json.dumps(content, separators=(",", ":")).encode()


def application(fleet: Fleet, rules: Rules, live: Live, metrics: Metrics) -> Guard:
    """Make the page of a fleet, and what monitoring asks beside it."""
    open_streams = WeakSet[Any]()

    def stream(request: Request, events: AsyncIterator[bytes]) -> Response:
        headers = {"x-accel-buffering": "no"}
        if request.method == "HEAD":  # it would never end
            return Response(headers=headers, media_type="text/event-stream")
        if len(open_streams) >= _STREAMS:
            raise HTTPException(503, "too many pages are open: close some.")
        open_streams.add(events)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def events(request: Request) -> Response:
        return stream(request, live.events())

    async def log(request: Request) -> Response:
        return stream(request, live.log(request.query_params.get("of", "")))

    async def look(request: Request) -> Response:
        return _Json(await asyncio.to_thread(_named(fleet.looks, request), request.query_params))

    async def act(request: Request) -> Response:
        action = _named(fleet.actions, request)
        return _Json(await asyncio.to_thread(action, await body(request)) or {"done": True})

    routes = [
        *probes.routes(fleet.status, metrics),
        *_door(rules),
        Route("/api/events", events),
        Route("/api/log", log),
        Route("/api/{what}", look),
        Route("/api/do/{what}", act, methods=["POST"]),
        Mount("/", StaticFiles(directory=Path(__file__).with_name("static"), html=True)),
    ]
    handlers: Any = {FleetError: _failed, HTTPException: _refused, ClientDisconnect: _left, sqlite3.Error: _unread}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), rules)


def _door(rules: Rules) -> list[Route]:
    """Let in who knows the token. It is too long to be guessed, so nobody is made to wait."""

    async def session(request: Request) -> Response:
        may = request.state.rights
        told = {"fleet": rules.fleet if may.look else "", "version": celeryfleet.__version__}
        return _Json({**told, "look": may.look, "act": may.act, "read_only": rules.read_only})

    async def login(request: Request) -> Response:
        given = (await body(request)).get("token")
        if not (isinstance(given, str) and tokens.same(rules.token, given.strip())):
            raise HTTPException(401, "that is not the token.")
        return with_cookie(request, tokens.cookie(rules.token, time.time()), tokens.LASTS)

    async def logout(request: Request) -> Response:
        return with_cookie(request, "", 0)

    def with_cookie(request: Request, value: str, lasts: int) -> Response:
        response = _Json({"done": True})
        response.set_cookie(
            rules.cookie, value, lasts, path=f"{rules.root_path}/", httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    return [
        Route("/api/session", session),
        Route("/api/login", login, methods=["POST"]),
        Route("/api/logout", logout, methods=["POST"]),
    ]


def _named(known: Any, request: Request) -> Any:
    """Return what a path names. Raises HTTPException."""
    try:
        return known[request.path_params["what"]]
    except KeyError:
        raise HTTPException(404, "there is nothing of that name.") from None


async def body(request: Request) -> dict[str, Any]:
    """Read what a page sends. Raises HTTPException where it is too long, and FleetError where it is no object."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _MOST:
            raise HTTPException(413, "the request is too long.")
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FleetError("the request is no JSON object.")
    return found


async def _failed(_: Request, error: FleetError) -> Response:
    """Tell what a user can correct."""
    problem = error.problems[0]
    return _Json({"error": problem.what, "hint": problem.hint}, _STATUS.get(error.code, 400))


async def _refused(_: Request, error: HTTPException) -> Response:
    return _Json({"error": error.detail}, error.status_code, error.headers)


async def _left(_: Request, __: ClientDisconnect) -> Response:
    """Answer nobody: it has hung up within its request, which is no error of ours."""
    return Response(status_code=400)


async def _unread(_: Request, error: sqlite3.Error) -> Response:
    return _Json({"error": f"the ledger cannot be read: {error}."}, 503)
