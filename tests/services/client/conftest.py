"""A real broker, a real worker and the app that talks to them, once for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from celeryfleet.client.expression import Names
from tests import ROOT
from tests.fakes import eventually
from tests.servers import redis_server
from tests.services.client import shop


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Give the URL of a server of one's own."""
    with redis_server() as path:
        yield f"redis+socket://{path}?virtual_host=0"


@pytest.fixture(scope="session")
def app(broker: str) -> Iterator[Any]:
    """Give the shop's app on that server."""
    shop.app.conf.update(broker_url=broker, result_backend=broker)
    yield shop.app
    shop.app.backend.client.close()
    shop.app.close()


@pytest.fixture(scope="session")
def worker(app: Any, broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a worker of all queues but `nobody`."""
    command = [sys.executable, "-m", "celery", "-A", "tests.services.client.shop", "worker", "-P", "threads", "-c", "4"]
    command += ["-Q", "sums,default,low", "--without-mingle", "--without-gossip", "--without-heartbeat", "-l", "INFO"]
    env = {**os.environ, "SHOP_BROKER": broker, "SHOP_RESULTS": broker}
    log = tmp_path_factory.mktemp("worker") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=output, stderr=output)
    try:
        eventually(lambda: " ready." in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def names() -> Names:
    """Give what expressions may name."""
    shop.app.finalize()
    tasks = [name for name in shop.app.tasks if name.startswith("shop.")]
    return Names(tasks, {"plus": "shop.add"}, ("default", "sums", "low", "nobody"))
