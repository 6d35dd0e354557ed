"""Where a Redis is and how it is connected to, out of Celery's settings as a Plan has them; and why it is not.

The ground of our own client: it imports nothing that takes time, and `ssl` only where there is TLS.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    import socket
    from typing import Any

_BAD_PORT = "the port in its URL is not a number up to 65535; a password with # / ? or % in it must be quoted"
_SENTINEL_PORT = 26379


class BrokerError(ConnectionError):
    """The broker cannot be reached or does not do as asked; carries no credentials."""

    def __init__(self, where: str, reason: str) -> None:
        #: `host:port` or the path of the socket
        self.where = where
        #: the rest of a sentence that begins with "the broker at …:"
        self.reason = reason
        super().__init__(f"{where}: {reason}")


class Refusal(str):
    """A reason that will not go away by waiting: something answers, and does not let the fleet in."""

    __slots__ = ()


class Endpoint:
    """One server, in the forms that kombu and redis-py read."""

    def __init__(self, url: str, settings: Mapping[str, Any]) -> None:
        from urllib.parse import parse_qsl, unquote, urlsplit

        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.user = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.path = ""
        #: redis-py's `ssl_…` options; None: no TLS
        self.tls: Mapping[str, Any] | None = None
        #: whether a sentinel has named it as the master
        self.named = False
        if parts.scheme in ("redis+socket", "unix", "socket"):
            self.where = self.path = unquote(parts.path)
            database = query.get("virtual_host") or query.get("db") or ""
        elif parts.scheme in ("redis", "rediss", "sentinel"):
            try:
                port = parts.port or (_SENTINEL_PORT if parts.scheme == "sentinel" else 6379)
            except ValueError:
                raise BrokerError(parts.hostname or "", _BAD_PORT) from None
            self._lies_at(parts.hostname or "127.0.0.1", port)
            setting = settings.get("broker_use_ssl")
            if setting or parts.scheme == "rediss":
                self.tls = setting if isinstance(setting, Mapping) else {}
            database = query.get("virtual_host") or query.get("db") or unquote(parts.path)
        else:
            raise BrokerError(f"{parts.scheme or 'broker'}://…", "this is not a Redis URL")
        database = database.strip("/") or "0"
        if not database.isdecimal():
            raise BrokerError(self.where, "the database in its URL is not a number")
        self.database = int(database)

    def _lies_at(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def sentinel(self, own: Mapping[str, Any]) -> Endpoint:
        """Return the sentinel itself, which has credentials and TLS of its own (`sentinel_kwargs`)."""
        found = self._copy()
        found.user, found.password, found.database = own.get("username") or "", own.get("password") or "", 0
        found.tls = own if own.get("ssl") else None
        return found

    def leader(self, host: str, port: int) -> Endpoint:
        """Return the master that a sentinel has named."""
        found = self._copy()
        found._lies_at(host, port)
        found.named = True
        return found

    def _copy(self) -> Endpoint:
        found = object.__new__(Endpoint)
        found.__dict__.update(self.__dict__)
        return found


def secured(sock: socket.socket, host: str, options: Mapping[str, Any], machine: bool) -> socket.socket:
    """Speak TLS on a connected socket, as redis-py would with these options; closes it if that fails.

    `machine` tells whether the authorities of this machine are trusted beside those that the options name: to read
    them takes as long as all the rest of `health`.
    """
    import ssl

    try:
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            _readable(name, options.get(name))
        if options.get("ssl_cert_reqs") == "none":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context = ssl.create_default_context(**({} if machine else _authorities(options)))
            if machine and names_authorities(options):
                context.load_verify_locations(**_authorities(options))
            context.check_hostname = options.get("ssl_check_hostname", True)
            context.verify_mode = ssl.VerifyMode[f"CERT_{options.get('ssl_cert_reqs', 'required').upper()}"]
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), options.get("ssl_password"))
        if ciphers := options.get("ssl_ciphers"):
            context.set_ciphers(ciphers)
        return context.wrap_socket(sock, server_hostname=host)
    except TimeoutError:  # a Redis without TLS takes it for the beginning of a long command
        sock.close()
        raise ValueError("it accepts connections but does not answer to TLS; does it speak TLS on this port?") from None
    except Exception:
        sock.close()
        raise


def names_authorities(options: Mapping[str, Any]) -> bool:
    """Tell whether options of TLS name authorities to trust."""
    return any(_authorities(options).values())


def _authorities(options: Mapping[str, Any]) -> dict[str, Any]:
    names = {"cafile": "ssl_ca_certs", "capath": "ssl_ca_path", "cadata": "ssl_ca_data"}
    return {ours: options.get(name) for ours, name in names.items()}


def _readable(name: str, path: str | None) -> None:
    """Raise ValueError where a file cannot be read: OpenSSL would not say which."""
    try:
        if path:
            open(path, "rb").close()  # noqa: PTH123 - pathlib takes 5 ms to import
    except OSError as error:
        raise ValueError(Refusal(f"TLS: {name} is {path}: {error.strerror}")) from None


_UNTRUSTED = "its certificate is signed by an authority that is not trusted here"
#: what OpenSSL says → what it means; of several that occur in a text, the first
_TLS = {
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet",
    "ostname mismatch": "its certificate is for another host name",
    "IP address mismatch": "its certificate does not have its IP address",
    "self-signed certificate in certificate chain": _UNTRUSTED,
    "self-signed certificate": "its certificate is signed by itself, and not trusted here",
    "unable to get local issuer": _UNTRUSTED,
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted",
    "CERTIFICATE_REQUIRED": "it wants a certificate of its clients",
    "UNKNOWN_CA": "it does not trust the authority of the client's certificate",
    "ALERT_BAD_CERTIFICATE": "it does not take the client's certificate",
    "CERTIFICATE_EXPIRED": "the client's certificate has expired",
    "KEY_VALUES_MISMATCH": "the client's key is not that of its certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "record layer failure": "it does not speak TLS on this port",
    "EOF occurred in violation of protocol": "it broke off; it may want another certificate of its clients",
    "HANDSHAKE_FAILURE": "it broke off; it may want another certificate of its clients",
}
#: meanings that OpenSSL's own words add something to
_VAGUE = (_TLS["ostname mismatch"], _TLS["IP address mismatch"], _TLS["CERTIFICATE_VERIFY_FAILED"])
_AUTHORITY = "broker_use_ssl: {ssl_ca_certs: …} names an authority of your own"
_CLIENT = "broker_use_ssl: {ssl_certfile: …, ssl_keyfile: …} names one"
_HINTS = {"trusted here": _AUTHORITY, "of its clients": _CLIENT}


def explained_tls(text: str) -> Refusal | None:
    """Say what an error of OpenSSL's means, by its text, which redis-py and amqp pass on; None: it is none of those."""
    meaning = next((meaning for said, meaning in _TLS.items() if said in text), None)
    if meaning is None:
        return None
    detail = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0].rstrip(".")
    shown = f" ({detail})" if detail and meaning in _VAGUE else ""
    hint = next((f"; {hint}" for word, hint in _HINTS.items() if word in meaning), "")
    prefix = "" if "TLS" in meaning else "TLS: "
    return Refusal(f"{prefix}{meaning}{shown}{hint}")
