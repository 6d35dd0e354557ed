"""Who may look and who may act: hosts, origins, cookies, and the headers of every answer.

Against a page elsewhere that has a browser call us: names other than ours are refused (DNS rebinding), requests that
come from another site or origin are refused, and cookies are SameSite=Strict.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse

from celeryfleet import trust
from celeryfleet.web import token as tokens
from celeryfleet.web.peer import owner

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: what probes may ask, by whatever name; it tells nothing of tasks
PROBES = frozenset(("/healthz", "/readyz"))
#: what anyone gets who knows our name: the way in, beside the page without what it shows, and numbers
_OPEN = ("/api/session", "/api/login", "/api/logout")
#: headers by which a proxy says that it is one
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "manifest")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user has said of who may do what."""

    fleet: str
    #: opens the actions, and the page where looking is not free
    token: str = field(repr=False)
    #: it listens to this machine alone, whose owner may look without the token
    local: bool = True
    #: names, beside localhost and addresses, by which it may be asked: shop.example, shop.example:8443
    hosts: frozenset[str] = frozenset()
    #: there are no actions
    read_only: bool = False
    #: before all paths, without a slash at its end
    root_path: str = ""

    @property
    def cookie(self) -> str:
        """Name the cookie: browsers keep them by host, whatever the port."""
        return f"celeryfleet-{''.join(c if c.isalnum() and c.isascii() else '-' for c in self.fleet)}"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a request may do."""

    look: bool
    act: bool


def rights(rules: Rules, headers: Mapping[str, str], ours: Callable[[], bool], now: float) -> Rights:
    """Decide what a request may do; `ours` tells whether it comes from a process of the fleet's user on this machine.

    That is asked last, and beside the loop: where there are many connections, the kernel takes long to tell.
    """
    kind, _, given = headers.get("authorization", "").partition(" ")
    signed = kind.lower() == "bearer" and tokens.same(rules.token, given.strip())
    signed = signed or tokens.holds(rules.token, cookie_parser(headers.get("cookie", "")).get(rules.cookie, ""), now)
    direct = rules.local and _here(headers.get("host", "")) and not any(name in headers for name in _FORWARDED)
    return Rights(signed or (direct and ours()), signed and not rules.read_only)


def refusal(rules: Rules, method: str, path: str, headers: Mapping[str, str], may: Rights) -> tuple[int, str] | None:
    """Say with which status and why a request is refused, if it is."""
    if path in PROBES:
        return None
    host = headers.get("host", "")
    if not (_here(host) or _address(host) or _known(rules, host)):
        return 421, f"this page is not called {host!r}: start it with --allow-host to have it be."
    if path.startswith("/api/") and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "another site may not ask."
    if method not in ("GET", "HEAD"):
        origin = headers.get("origin")
        bearer = headers.get("authorization", "").lower().startswith("bearer ")
        if not (_own(rules, origin, host) if origin is not None else bearer):
            return 403, f"this does not come from the page itself, but from {origin or 'nowhere'}."
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "only application/json is read."
    if path in _OPEN or not path.startswith("/api/"):
        return None
    if not may.look:
        return 401, "it takes the token to look."
    if method not in ("GET", "HEAD") and not may.act:
        return (403, "this page only shows.") if rules.read_only else (401, "it takes the token to change anything.")
    return None


def _known(rules: Rules, netloc: str) -> bool:
    return netloc.lower() in rules.hosts or _name(netloc) in rules.hosts


def _own(rules: Rules, origin: str, host: str) -> bool:
    """Tell whether an origin is ours: the host that is asked, or one that --allow-host names (a proxy may hide it)."""
    netloc = urlsplit(origin).netloc
    return bool(netloc) and (netloc.lower() == host.lower() or _known(rules, netloc))


def _name(netloc: str) -> str:
    """Return a host without its port, in small letters; empty where it is none."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _address(netloc: str) -> bool:
    """Tell whether a host is an address: of such nobody can say that it is another's name."""
    try:
        return bool(ipaddress.ip_address(_name(netloc)))
    except ValueError:
        return False


def _here(netloc: str) -> bool:
    name = _name(netloc)
    return name == "localhost" or (_address(netloc) and ipaddress.ip_address(name).is_loopback)


class Guard:
    """Stands before the whole page."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass with `scope["state"]["rights"]`, or refuse it."""
        if scope["type"] != "http":
            return
        rules, path = self._rules, scope["path"]
        if rules.root_path and (path == rules.root_path or path.startswith(f"{rules.root_path}/")):
            path = path[len(rules.root_path) :]  # else the proxy has taken it off
        scope["path"] = path or "/"
        headers = Headers(scope=scope)
        may = Rights(look=False, act=False)
        if scope["path"].startswith("/api/"):
            async with self._turn:
                may = await asyncio.to_thread(rights, rules, headers, lambda: _ours(scope), time.time())
        scope.setdefault("state", {})["rights"] = may
        refused = refusal(rules, scope["method"], scope["path"], headers, may)
        app: Any = self._app
        if refused:
            app = JSONResponse({"error": refused[1]}, refused[0])
        elif not path:  # what the page asks for is relative to the slash
            app = RedirectResponse(f"{rules.root_path}/")

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    found[name] = value
            await send(message)

        await app(scope, receive, told)


def _ours(scope: Scope) -> bool:
    """Tell whether a process of the fleet's user, or root's, is at the other end of a connection on this machine."""
    client, server = scope.get("client"), scope.get("server")
    uid = owner(client, server) if client and server else None
    return uid is not None and not trust.stranger(uid)
