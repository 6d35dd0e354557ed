"""Fleet → the broker and result backend: URLs, what is shown of them, and the embedded server's command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from celeryfleet.plan.secrets import masked, masked_origin
from celeryfleet.plan.values import BrokerPlan
from celeryfleet.routing.table import transport_of

if TYPE_CHECKING:
    from celeryfleet.fleetfile.model import Fleet
    from celeryfleet.plan.facts import Paths

EMBEDDED = "embedded"
#: what Celery calls a result backend that keeps nothing; None would leave the app's own in place
NO_RESULTS = "disabled://"
#: the lists a Redis queue is kept as; ten give each priority its own
STEPS = tuple(range(10))
SERVER = "valkey-server"
SEP = "\x06\x16"


def socket_url(path: str) -> str:
    """Return the URL of a Redis on a unix socket; a raw `#`, `?` or `%` in the path would end it early."""
    return f"redis+socket://{quote(path)}?virtual_host=0"


def is_embedded(fleet: Fleet) -> bool:
    """Tell whether the fleet runs a broker of its own."""
    return "broker_url" not in fleet.celery and fleet.broker.url == EMBEDDED


def broker_url(fleet: Fleet, paths: Paths) -> str:
    """Return the broker's URL, with its credentials."""
    if is_embedded(fleet):
        return socket_url(paths.broker)
    written = fleet.celery.get("broker_url", fleet.broker.url)
    return ";".join(map(str, written)) if isinstance(written, list) else str(written)


def result_backend(fleet: Fleet, url: str) -> str:
    """Return the result backend's URL: by default the broker, where it can serve as one."""
    if "result_backend" in fleet.celery:
        return str(fleet.celery["result_backend"])
    if fleet.results != EMBEDDED:
        return NO_RESULTS if fleet.results == "none" else fleet.results
    match transport_of(url):
        case "redis":
            return url
        case "amqp":
            return "rpc://"
        case _:
            return NO_RESULTS


def transport_options(fleet: Fleet, url: str) -> dict[str, Any]:
    """Return `broker_transport_options` that are ours."""
    if transport_of(url) == "amqp":
        # Else a message that the broker does not take is lost, or blamed on the next one (see routes, `mandatory`).
        return {"confirm_publish": True}
    if transport_of(url) != "redis":
        return {}
    options: dict[str, Any] = {"priority_steps": list(STEPS), "sep": SEP}
    timeout = fleet.broker.visibility_timeout
    if timeout is not None:
        options["visibility_timeout"] = int(timeout) if timeout == int(timeout) else timeout
    return options


def broker(fleet: Fleet, paths: Paths, settings: Mapping[str, Any], server: str) -> BrokerPlan:
    """Plan the broker out of the settings that workers and producers get."""
    url, options = settings["broker_url"], settings.get("broker_transport_options", {})
    results, written = settings["result_backend"], _written(fleet)
    embedded = is_embedded(fleet)
    program = server or fleet.broker.server or SERVER
    data = f"{paths.state_dir}/broker" if embedded else ""
    return BrokerPlan(
        url=url,
        shown=masked_origin(written) if written else masked(url),
        results="" if results == NO_RESULTS else results,
        argv=server_command(program, paths.broker, data) if embedded else (),
        data=data,
        socket=paths.broker if embedded else "",
        transport=transport_of(url),
        steps=tuple(options.get("priority_steps", STEPS)),
        sep=options.get("sep", SEP),
        key_prefix=options.get("global_keyprefix", ""),
    )


def _written(fleet: Fleet) -> str | None:
    """Return the broker's URL as written with its `${VAR}`; not where that says `embedded`, which is no URL."""
    if is_embedded(fleet):
        return None
    return fleet.origin("celery", "broker_url") or fleet.origin("broker") or fleet.origin("broker", "url")


def origins(fleet: Fleet, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the text, as written, of the settings that came from a `${VAR}`, by their path (`a/b`)."""
    found: dict[str, str] = {}
    written = _written(fleet)
    if written:
        found["broker_url"] = written
        if settings["result_backend"] == settings["broker_url"]:
            found["result_backend"] = written
    results = fleet.origin("celery", "result_backend")
    if fleet.results not in (EMBEDDED, "none"):  # which stand for URLs of ours
        results = results or fleet.origin("results")
    if results:
        found["result_backend"] = results
    _collect(fleet, fleet.celery, (), found)
    return found


def _collect(fleet: Fleet, value: Any, path: tuple[str | int, ...], found: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _collect(fleet, item, (*path, str(key)), found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _collect(fleet, item, (*path, index), found)
    else:
        text = fleet.origin("celery", *path)
        if text:
            found.setdefault("/".join(map(str, path)), text)


def server_command(server: str, socket: str, data: str) -> tuple[str, ...]:
    """Return the command of an append-only Valkey on a unix socket, for its owner alone."""
    flags = {
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "600",
        "dir": data,
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return (server, *(part for flag, value in flags.items() for part in (f"--{flag}", value)))
