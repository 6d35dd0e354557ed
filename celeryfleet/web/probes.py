"""What monitoring asks over HTTP: `/metrics`, and the probes `/healthz` and `/readyz`.

They need no token, tell no arguments or results of tasks, and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from celeryfleet.errors import FleetError
from celeryfleet.protocol import Status
from celeryfleet.web.metrics import Metrics


def routes(look: Callable[[], Status], metrics: Metrics) -> list[Route]:
    """Return the routes; `look` says how the fleet is without waking its workers, and may raise FleetError."""

    def scrape(request: Request) -> Response:
        try:
            body, kind = metrics.text(request.headers.get("accept", ""))
        except FleetError as error:
            return _told(503, str(error))
        return Response(body, media_type=kind)

    async def healthz(request: Request) -> Response:  # whatever the others wait for
        return _told(200, "ok")

    def readyz(request: Request) -> Response:
        try:
            status = look()
        except FleetError as error:
            return _told(503, str(error))
        return _told(503, status.reason) if status.reason else _told(200, f"{status.fleet} is ready")

    return [Route("/metrics", scrape), Route("/healthz", healthz), Route("/readyz", readyz)]


def _told(code: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", code, headers={"Cache-Control": "no-store"})
