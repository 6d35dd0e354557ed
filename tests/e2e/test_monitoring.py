"""What monitors get: those that listen to Celery's events, as Flower and celery-exporter do, and those that scrape."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Home
from tests.fakes import eventually

FLEET = """
name: shop
app: shop
queues: {default: , mail: }
events: true
pools:
  web: {queues: [default]}
  mail: {queues: [mail]}
  silent: {queues: [default], events: false}
"""

#: listens until each kind of event was heard of what it is for, and prints who sent what
LISTEN = """
import json, sys
import celeryfleet, shop
celeryfleet.install(shop.app)
heard, wanted = set(), {tuple(pair) for pair in json.loads(sys.argv[1])}
def hear(event):
    heard.add((event["type"], event["hostname"].partition("@")[0]))
    receiver.should_stop = wanted <= heard
with shop.app.connection_for_read() as connection:
    receiver = shop.app.events.Receiver(connection, handlers={"*": hear})
    print("listening", flush=True)
    receiver.capture(limit=None, timeout=60)
print(json.dumps(sorted(heard)))
"""


def test_a_monitor_hears_of_every_pool_that_sends_events(home: Home) -> None:
    home.write(FLEET).up()
    wanted = [("worker-heartbeat", "web-1"), ("worker-heartbeat", "mail-1"), ("task-succeeded", "mail-1")]
    command = [sys.executable, "-c", LISTEN, json.dumps(wanted)]
    with subprocess.Popen(command, cwd=home.path, env=home.env, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        assert monitor.stdout.readline() == "listening\n"
        home.send("add", "1", "2", "--queue", "mail")
        heard = [tuple(pair) for pair in json.loads(monitor.stdout.readline())]
    assert set(wanted) <= set(heard)
    assert "silent-1" not in {who for _, who in heard}


SCRAPED = """
name: shop
app: shop
queues: {default: , mail: }
pools:
  web: {queues: [default], concurrency: 2, restart: {max_restarts: 0}}
"""


def test_a_scrape_counts_what_became_of_tasks_and_a_probe_says_what_is_not_ready(home: Home) -> None:
    home.write(SCRAPED).up()
    with home.start("ui", "127.0.0.1:0") as served:
        assert served.stdout is not None
        said = served.stdout.readline()
        url = next(word for word in said.split() if word.startswith("http://"))

        def get(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url + path, timeout=60) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        def values(**labels: str) -> dict[str, Any]:
            families = text_string_to_metric_families(get("metrics")[1])
            samples = [one for family in families for one in family.samples]
            return {one.name: one.value for one in samples if labels.items() <= one.labels.items()}

        try:
            assert get("healthz") == (200, "ok\n")
            assert get("readyz") == (200, "shop is ready\n")
            home.run("send", "add", "1", "2", "--count", "2", "--no-wait")
            home.run("send", "boom", "--timeout", "30", check=False)
            eventually(lambda: values(name="shop.add").get("celery_task_succeeded_total") == 2)
            added = values(name="shop.add", queue_name="default", hostname=f"shop.{os.uname().nodename}")
            assert [added[f"celery_task_{step}_total"] for step in ("sent", "received", "started")] == [2] * 3
            assert added["celery_task_runtime_count"] == added["celery_task_queue_wait_time_count"] == 2
            assert values(name="shop.boom", exception="ValueError")["celery_task_failed_total"] == 1
            default, mail = values(queue_name="default"), values(queue_name="mail")
            assert (default["celery_active_process_count"], mail["celery_active_process_count"]) == (2, 0)
            os.kill(home.pid("web-1"), signal.SIGKILL)
            eventually(lambda: get("readyz")[0] == 503)
            assert get("readyz")[1] == "web: 0 of 1 ready (web-1 failed)\n"
            assert values(worker="web-1")["celery_worker_up"] == 0
            assert values(pool="web", state="failed")["celeryfleet_workers"] == 1
            home.run("down")
            assert get("readyz") == (503, "The fleet is not running.\n")
            assert values()["celeryfleet_ready"] == 0
        finally:
            served.send_signal(signal.SIGTERM)
            served.wait(60)
