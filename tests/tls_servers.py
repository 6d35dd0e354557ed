"""Servers with TLS, access lists and sentinels for the tests that want them, with certificates made on the spot."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.machine_services import lacking

#: an option of redis-server → its value
Options = Mapping[str, object]


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key."""

    file: Path
    key: Path


class Authority:
    """A private authority that signs certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "ca.pem"
        self._key = self._new_key("ca")
        usage = ("-addext", "keyUsage=critical,keyCertSign")  # Python 3.13 is strict about such things
        _openssl("req", "-x509", "-new", "-key", self._key, "-subj", "/CN=test", "-days", 9, "-out", self.file, *usage)

    def issue(self, name: str, *names: str, days: int = 9) -> Certificate:
        """Sign a certificate for these names (`DNS:localhost`, `IP:127.0.0.1`), valid for so many days."""
        key, request, extensions, file = (
            self._new_key(name),
            *(self.folder / f"{name}.{end}" for end in ("csr", "ext", "pem")),
        )
        _openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text(
            "\n".join(["authorityKeyIdentifier=keyid", *[f"subjectAltName={','.join(names)}"] * bool(names)])
        )
        signer = ("-CA", self.file, "-CAkey", self._key, "-CAcreateserial")
        _openssl("x509", "-req", "-in", request, *signer, "-days", days, "-extfile", extensions, "-out", file)
        return Certificate(file, key)

    def _new_key(self, name: str) -> Path:
        file = self.folder / f"{name}.key"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file)
        return file

    def of_redis(self, server: Certificate, port: int) -> Options:
        """Return the options of a redis-server that takes TLS alone, and wants certificates of its clients."""
        certificate = {"tls-cert-file": server.file, "tls-key-file": server.key, "tls-ca-cert-file": self.file}
        return {"port": 0, "tls-port": port, **certificate}


def _openssl(*words: object) -> None:
    program = shutil.which("openssl") or lacking("needs openssl")
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def redis_with(folder: Path, options: Options) -> Iterator[subprocess.Popen[str]]:
    """Run a redis-server of the machine's with these options; it keeps nothing."""
    words = [word for key, value in {"dir": folder, "save": "", **options}.items() for word in (f"--{key}", str(value))]
    with _running(words, "ready to accept connections") as process:
        yield process


@contextlib.contextmanager
def sentinel(folder: Path, master: int, options: Options) -> Iterator[subprocess.Popen[str]]:
    """Run a sentinel that alone decides on the master `shop`, which is at this port of 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sentinel.conf"
    lines = [f"dir {folder}", f"sentinel monitor shop 127.0.0.1 {master} 1"]
    lines += ["sentinel down-after-milliseconds shop 500", "sentinel failover-timeout shop 3000"]
    lines += [f"{key} {value}" for key, value in options.items()]
    file.write_text("\n".join(lines) + "\n")
    with _running([str(file), "--sentinel"], "+monitor master") as process:
        yield process


@contextlib.contextmanager
def _running(words: list[str], ready: str) -> Iterator[subprocess.Popen[str]]:
    program = shutil.which("redis-server") or lacking("needs redis-server, built with TLS")
    with subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if ready in line.lower():
                    break
            else:
                lacking(f"redis-server does not start: {''.join(lines[-3:])}")
            yield process
        finally:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def rabbitmq(folder: Path, authority: Authority, server: Certificate) -> Iterator[int]:
    """Run a RabbitMQ of our own that takes TLS alone, and wants certificates of its clients; give its port."""
    program = next(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"), None)
    epmd = shutil.which("epmd")
    if program is None or epmd is None:
        lacking("needs RabbitMQ, as Debian installs it")
    port, mapper = free_port(), free_port()
    options = {"verify": "verify_peer", "fail_if_no_peer_cert": "true", "cacertfile": authority.file}
    options |= {"certfile": server.file, "keyfile": server.key}
    lines = ["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{port}", "ssl_cert_login_from = common_name"]
    lines += ["auth_mechanisms.1 = PLAIN", "auth_mechanisms.2 = EXTERNAL"]
    lines += [f"ssl_options.{key} = {value}" for key, value in options.items()]
    (folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    (folder / "plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")
    own = {"NODENAME": f"cf-{port}@localhost", "CONFIG_FILE": folder / "rabbitmq.conf", "DIST_PORT": free_port()}
    own |= {"MNESIA_BASE": folder / "data", "LOG_BASE": folder, "LOGS": "-", "GENERATED_CONFIG_DIR": folder / "made"}
    own |= {"ENABLED_PLUGINS_FILE": folder / "plugins", "PID_FILE": folder / "pid"}
    env = {**os.environ, "HOME": str(folder), "ERL_EPMD_PORT": str(mapper)}
    env |= {f"RABBITMQ_{key}": str(value) for key, value in own.items()}
    with (
        subprocess.Popen([epmd, "-port", str(mapper)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as names,
        subprocess.Popen([program], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as node,
    ):
        try:
            assert node.stdout is not None
            told: list[str] = []
            for line in node.stdout:
                told.append(line)
                if "Server startup complete" in line:
                    break
            else:
                lacking(f"RabbitMQ does not start: {''.join(told[-3:])}")
            threading.Thread(target=node.stdout.read, daemon=True).start()
            yield port
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            names.kill()
            node.wait()
