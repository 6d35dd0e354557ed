"""How a broker and a result backend are connected to, said once for all who connect.

kombu, Celery's result backends and our own client read different spellings, and take what is not said otherwise:
`rediss://` alone is unverified to kombu and an error to the result backend; `ssl_…` in an `amqps://` URL, a text as
`cert_reqs` on RabbitMQ and `broker_use_ssl: true` on Redis do not work at all (seen in kombu and Celery 5.7). Here
all of it becomes one `broker_use_ssl` in the spelling of its transport, verified unless it says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl, quote

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.suggest import did_you_mean
from celeryfleet.routing.table import transport_of

#: of broker_transport_options, what a result backend on sentinels needs too
_SENTINEL_OPTIONS = ("master_name", "sentinel_kwargs")
#: schemes that mean TLS by themselves
_SECURE = ("rediss://", "amqps://")
#: options that name files, which fleet.yaml may write relative to itself
_FILES = ("ca_certs", "ca_path", "certfile", "keyfile")
#: what TLS can be told on either transport, and on one alone: of redis-py's SSLConnection and py-amqp's SSLTransport
_OPTIONS = ("ca_certs", "certfile", "keyfile", "cert_reqs", "check_hostname", "ciphers")
_OPTIONS_OF = {
    "redis": (
        *("ca_path", "ca_data", "password", "min_version", "include_verify_flags", "exclude_verify_flags"),
        *("validate_ocsp", "validate_ocsp_stapled", "ocsp_context", "ocsp_expected_cert"),
    ),
    "amqp": ("server_hostname", "context", "ssl_version", "tls_minimum_version", "tls_maximum_version"),
}
#: how strictly a certificate is looked at, by the numbers of Python's ssl
_STRICTNESS = ("none", "optional", "required")
#: scheme, credentials, host and port, and the rest
_URL = re.compile(r"([a-z+]+://)([^/?#]*@)?([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def agreed(settings: Mapping[str, Any], folder: str, where: Callable[..., str]) -> dict[str, Any]:
    """Return what of these settings is to be said otherwise, for all to connect alike.

    `folder` is fleet.yaml's, `where` says where a setting stands in it. Raises FleetError for an option of TLS that
    there is not: workers would end in a TypeError.
    """
    found, tls = _of_broker(settings, folder, where)
    found |= _of_results(settings, found, tls, folder, where)
    found |= _of_sentinels(settings, folder)
    return {key: value for key, value in found.items() if value != settings.get(key)}


def _of_broker(
    settings: Mapping[str, Any], folder: str, where: Callable[..., str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Say how the broker is reached; return its options of TLS, too, if it is spoken."""
    url, given = settings["broker_url"], settings.get("broker_use_ssl")
    transport = transport_of(url)
    if transport == "other":
        return {}, None
    complete = _completed(url, settings.get("broker_user"), settings.get("broker_password"))
    stripped, tls = _without_tls(complete, given, folder)
    found: dict[str, Any] = {"broker_url": stripped}
    if tls is not None:
        _check(tls, transport, where("celery", "broker_use_ssl"))
        found["broker_use_ssl"] = _for_redis(tls) if transport == "redis" else _for_amqp(tls, url)
    elif given:  # a socket
        found["broker_use_ssl"] = False
    return found, tls


def _of_results(
    settings: Mapping[str, Any],
    broker: Mapping[str, Any],
    tls: dict[str, Any] | None,
    folder: str,
    where: Callable[..., str],
) -> dict[str, Any]:
    """Say how a Redis that keeps results is reached; `tls` is how the broker is, if it is on the same server."""
    url, given = settings["result_backend"], settings.get("redis_backend_use_ssl")
    if transport_of(url) != "redis":
        return {}
    stripped, own = _without_tls(_completed(url), given, folder)
    same = transport_of(settings["broker_url"]) == "redis" and _hosts(url) == _hosts(settings["broker_url"])
    if same and not given:
        own = tls
    found: dict[str, Any] = {"result_backend": stripped}
    if url == settings["broker_url"]:
        found["result_backend"] = broker["broker_url"]
    if own is not None:
        _check(own, "redis", where("celery", "redis_backend_use_ssl"))
        found["redis_backend_use_ssl"] = _for_redis(own)
    elif given:
        found["redis_backend_use_ssl"] = None
    return found


def _of_sentinels(settings: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Say how sentinels are asked, for the broker and for results that are behind sentinels, too."""
    if not settings["broker_url"].startswith("sentinel://"):
        return {}
    options = dict(settings.get("broker_transport_options", {}))
    own = options.get("sentinel_kwargs") or {}
    if own.get("ssl"):
        tls = {key: value for key, value in own.items() if key.startswith("ssl_")}
        options["sentinel_kwargs"] = own | _for_redis(_canonical(tls, folder))
    found = {"broker_transport_options": options}
    if settings["result_backend"].startswith("sentinel://"):
        shared = {key: options[key] for key in _SENTINEL_OPTIONS if key in options}
        found["result_backend_transport_options"] = shared | settings.get("result_backend_transport_options", {})
    return found


def _without_tls(url: str, setting: Any, folder: str) -> tuple[str, dict[str, Any] | None]:
    """Take `ssl_…` out of an URL, or several; return it, and these options with those of a setting; None: no TLS."""
    options = dict(setting) if isinstance(setting, Mapping) else {}
    secure, urls = bool(setting) and "+socket://" not in url, []
    for one in url.split(";"):
        place, mark, query = one.partition("?")
        taken = [pair for pair in query.split("&") if pair.startswith("ssl_")]
        left = [pair for pair in query.split("&") if pair and pair not in taken]
        options |= parse_qsl("&".join(taken))
        secure = secure or bool(taken) or one.lower().startswith(_SECURE)
        urls.append(f"{place}{mark if left else ''}{'&'.join(left)}" if taken else one)
    return ";".join(urls), _canonical(options, folder) if secure else None


def _canonical(options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return options of TLS without `ssl_` before their names, with whole paths, and strict where nothing is said."""
    found = {key.removeprefix("ssl_"): value for key, value in options.items()}
    strictness = found.get("cert_reqs", "required")
    if strictness in range(len(_STRICTNESS)):
        strictness = _STRICTNESS[strictness]
    found["cert_reqs"] = str(strictness).lower().removeprefix("cert_")
    if "check_hostname" in found:
        found["check_hostname"] = str(found["check_hostname"]).lower() not in ("false", "no", "off", "0")
    return found | {key: str(PurePath(folder, found[key])) for key in _FILES if found.get(key)}


def _check(tls: Mapping[str, Any], transport: str, where: str) -> None:
    known = (*_OPTIONS, *_OPTIONS_OF[transport])
    for name in tls:
        if name not in known:
            hint = did_you_mean(name, known) or f"The options are {', '.join(known)}."
            raise FleetError(f'there is no option "{name}" of TLS.', where, hint)
    if tls["cert_reqs"] not in _STRICTNESS:
        hint = f"Write {', '.join(_STRICTNESS[:-1])} or {_STRICTNESS[-1]}."
        raise FleetError(f'cert_reqs is "{tls["cert_reqs"]}".', where, hint)


def _for_redis(tls: Mapping[str, Any]) -> dict[str, Any]:
    """Spell options as redis-py does."""
    return {f"ssl_{key}": value for key, value in tls.items()}


def _for_amqp(tls: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Spell options as py-amqp does, which looks at a server's name only if it is told one; None: that of the URL.

    Of several hosts kombu would ask each for the name of the first, so there it is not told.
    """
    found = dict(tls)
    strictness = found.pop("cert_reqs")
    if "context" in found:  # which has its own words for all of it
        return found
    if found.pop("check_hostname", True) and strictness != "none" and len(_hosts(url)) == 1:
        found.setdefault("server_hostname", None)
    return found | {"cert_reqs": _STRICTNESS.index(strictness)}


def _hosts(url: str) -> set[str]:
    return {match[3] for one in url.split(";") if (match := _URL.match(one))}


def _completed(url: str, user: str | None = None, password: str | None = None) -> str:
    """Return URLs with the credentials that settings have; and sentinels with the credentials and database of one.

    kombu takes both from whichever sentinel's URL it comes to.
    """
    parts = [match.groups(default="") for one in url.split(";") if (match := _URL.match(one))]
    login = f"{quote(user or '', safe='')}:{quote(password or '', safe='')}@" if user or password else ""
    rest = ""
    if url.startswith("sentinel://"):
        login = next((own for _, own, _, _ in parts if own), login)
        rest = next((own for *_, own in parts if own.strip("/")), "")
    if not login and not rest:
        return url
    return ";".join(
        f"{scheme}{own or login}{host}{(after.strip('/') and after) or rest}" for scheme, own, host, after in parts
    )
