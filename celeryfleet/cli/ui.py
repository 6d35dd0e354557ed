"""The command of the web page: ui."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from celeryfleet import private
from celeryfleet.errors import Exit, FleetError
from celeryfleet.text import say

if TYPE_CHECKING:
    from celeryfleet.cli.session import Session
    from celeryfleet.plan.values import Plan


def ui(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="ADDR", help="HOST:PORT; default: 127.0.0.1:5580.")] = "",
    token: Annotated[
        Path | None,
        typer.Option("--ui-token", metavar="FILE", help="Its file, made if missing; default: in .celeryfleet."),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show alone: there are no actions.")] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A name by which the page is asked for, beside localhost."),
    ] = None,
    root_path: Annotated[
        str, typer.Option("--root-path", metavar="PATH", help="What stands before its paths behind a proxy: /fleet.")
    ] = "",
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", metavar="IP", help="A proxy whose X-Forwarded-For and -Proto are believed."),
    ] = None,
    attached: Annotated[bool, typer.Option("--attached", hidden=True)] = False,
) -> int:
    """Serve a web page of the fleet: what waits, runs and failed, and with the token actions, too.

    It needs Starlette, uvicorn and prometheus-client: pip install "celeryfleet\\[ui]"

    Examples: [bold]celeryfleet ui[/] · [bold]celeryfleet ui 8000 --read-only[/] ·
    [bold]celeryfleet ui 0.0.0.0:8000 --allow-host fleet.example --root-path /fleet --proxy 10.0.0.2[/]
    """
    _require()
    from celeryfleet.cli.page import Page
    from celeryfleet.web import serve
    from celeryfleet.web import token as tokens
    from celeryfleet.web.guard import Rules

    session: Session = context.obj
    plan, (host, port) = session.followed, serve.address(address)
    file = token or _token_file(plan)
    secret, made = tokens.read(file)
    rules = Rules(
        fleet=plan.fleet,
        token=secret,
        local=serve.is_local(host),
        hosts=frozenset(name.lower() for name in allow_host or ()),
        read_only=read_only,
        root_path=f"/{root_path.strip('/')}" if root_path.strip("/") else "",
    )
    fleet, listener = Page(session).fleet(), serve.bound(host, port)
    url = serve.url(listener, rules)
    look = "" if rules.local else "to look"
    if rules.local and (rules.hosts or proxy):
        look = "to look from elsewhere"
    needs = (look, "" if read_only else "to change anything")
    needed = f"the token, {' and '.join(filter(None, needs))}, is in {file}" if any(needs) else "it takes no token"
    say(f"{rules.fleet} is shown on {url} ({needed})", sys.stderr, flush=True)
    if made and any(needs) and sys.stderr.isatty():
        say(f"The token was made now, and is said this once: {secret}", sys.stderr)
    if not rules.local:
        say("warning: others on the way can read the page and the token: put a proxy with TLS before it.", sys.stderr)
    if attached:
        os.write(0, f"{url} ({needed})\n".encode())
    serve.serve(fleet, rules, listener, proxy or [], 0 if attached else None)
    return Exit.OK


def page_of(session: Session, address: str | None, token: Path | None) -> list[str]:
    """Return the words that run the page beside a fleet; none where none is asked for. Raises FleetError."""
    if address is None and token is None:
        return []
    _require()
    from celeryfleet.web import serve

    serve.address(address or "")
    secret = ["--ui-token", str(token.absolute())] if token else []
    return [*session.words(), "ui", "--attached", *secret, *([address] if address else [])]


def _require() -> None:
    if None in map(find_spec, ("starlette", "uvicorn", "prometheus_client")):
        what = "the web page needs Starlette, uvicorn and prometheus-client."
        raise FleetError(what, hint='Install them: pip install "celeryfleet[ui]"')


def _token_file(plan: Plan) -> Path:
    state = Path(plan.state_dir)
    private.folder(str(state.parent.parent), state.parent.name, state.name)
    return state / "ui.token"
