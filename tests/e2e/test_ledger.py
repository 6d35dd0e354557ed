"""What becomes of tasks is written down, whatever becomes of them and of their workers."""

from __future__ import annotations

import json
import os
import resource
import signal

import pytest

from celeryfleet.ledger.entry import Entry
from celeryfleet.ledger.read import Ledger
from tests.e2e.conftest import APP, EMBEDDED, Home
from tests.fakes import eventually

TASKS = (
    APP
    + """

@app.task(bind=True, max_retries=1)
def again(self, countdown):
    raise self.retry(exc=KeyError("not there"), countdown=countdown)


@app.task(acks_late=True)
def late(name):
    until(name)


@app.task
def pay(password, to):
    raise ValueError("no money")


@app.task(time_limit=1)
def endless():
    time.sleep(60)
"""
)
FLEET = """
name: {name}
app: shop
{broker}
ledger: {{hide: [password]}}
queues: {{{queue}: }}
pools:
  web: {{queues: [{queue}], pool: {pool}, prefetch_multiplier: 4}}
"""


def up(home: Home, where: dict[str, str], pool: str = "prefork") -> Home:
    return home.write(FLEET.format(**where, pool=pool), TASKS).up()


def known(home: Home, task_id: str, *states: str) -> Entry:
    """Wait until the ledger says that a task is in one of these states."""

    def look() -> Entry | None:
        (file,) = home.path.glob(".celeryfleet/*/ledger.sqlite")
        with Ledger(str(file)) as ledger:
            found = ledger.find(task_id)
            return found if found is not None and found.state in states else None

    found = eventually(look)
    assert found is not None
    return found


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_every_pool_tells_of_success_and_failure(home: Home, pool: str) -> None:
    up(home, EMBEDDED, pool)
    good, bad = home.post("add", "1", "2"), home.post("boom")
    entry = known(home, good, "succeeded")
    assert (entry.task, entry.queue, entry.worker, entry.retries) == ("shop.add", "default", "web-1", 0)
    times = (entry.sent, entry.received, entry.started, entry.ended)
    assert list(times) == sorted(time for time in times if time)
    assert entry.wait_s is not None
    assert entry.runtime_s is not None
    assert entry.message is None
    entry = known(home, bad, "failed")
    assert entry.error == "ValueError: boom of the test"
    assert "in boom" in (entry.traceback or "")
    assert json.loads(entry.message or "")["headers"]["id"] == bad


def test_a_task_is_followed_from_the_queue_to_its_end(broker: dict[str, str], home: Home) -> None:
    up(home, broker)
    runs, waits, later = (
        home.post("until", "go"),
        home.post("add", "1", "2"),
        home.post("add", "1", "2", "--countdown", "60"),
    )
    running = known(home, runs, "running")
    assert running.pid in home.processes()
    assert known(home, waits, "taken").worker == "web-1"
    scheduled = known(home, later, "scheduled")
    assert 50_000 < (scheduled.eta or 0) - (scheduled.sent or 0) < 70_000
    (home.path / "go").touch()
    known(home, runs, "succeeded")
    known(home, waits, "succeeded")


def test_a_retry_an_expiry_a_revocation_and_a_time_limit_are_told(broker: dict[str, str], home: Home) -> None:
    up(home, broker)
    retried = known(home, home.post("again", "60"), "retrying", "scheduled")
    assert (retried.retries, retried.task) == (1, "shop.again")
    failed = known(home, home.post("again", "0"), "failed")
    assert (failed.retries, failed.error) == (1, "KeyError: 'not there'")
    assert known(home, home.post("endless"), "failed").error == "TimeLimitExceeded: 1"
    blocks = home.post("until", "go")
    expires = home.post("add", "1", "2", "--expires", "0.3")
    known(home, blocks, "running")
    (home.path / "go").touch()
    known(home, expires, "expired", "succeeded")


def test_a_task_that_nobody_has_registered_has_failed(home: Home) -> None:
    up(home, EMBEDDED)
    entry = known(home, home.post("nope.typo", "--queue", "default", "--force"), "failed")
    assert (entry.task, entry.queue) == ("nope.typo", "default")
    assert "NotRegistered" in (entry.error or "")


def test_of_a_killed_worker_the_task_is_lost_or_runs_again(broker: dict[str, str], home: Home) -> None:
    up(home, broker)
    early = home.post("until", "early")
    ahead = home.post("add", "1", "2")
    known(home, early, "running")
    os.kill(home.pid("web-1"), signal.SIGKILL)
    assert known(home, early, "lost").error == "its worker ended while it ran"
    known(home, ahead, "succeeded")
    late = home.post("late", "late")
    known(home, late, "running")
    os.kill(home.pid("web-1"), signal.SIGKILL)
    eventually(lambda: home.trace().count("start late") == 2)
    (home.path / "late").touch()
    known(home, late, "succeeded")


def test_a_full_disk_is_told_and_what_ended_meanwhile_does_not_run_for_ever(home: Home) -> None:
    """What had been written of it last was shown for days, and `queues drain` waited for it."""
    up(home, EMBEDDED, "prefork, concurrency: 2")
    stays, ends = home.post("late", "stays"), home.post("late", "ends")
    known(home, stays, "running")
    known(home, ends, "running")
    supervisor = home.status()["supervisor"]["pid"]
    (log,) = home.path.glob(".celeryfleet/*/ledger.sqlite-wal")
    before = resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (log.stat().st_size, -1))
    (home.path / "ends").touch()
    eventually(lambda: "The ledger can't be written: " in home.run("status").stdout)
    assert "warning: The ledger can't be written: " in home.run("failed").stderr
    assert home.run("queues", "drain", "default", "--timeout", "0.5", check=False).returncode == 124
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, before)
    assert known(home, ends, "unknown").worker == "web-1"
    known(home, stays, "running")
    (home.path / "stays").touch()
    known(home, stays, "succeeded")
    home.run("queues", "drain", "default", "--timeout", "30")
    assert "The ledger" not in home.run("status").stdout
    assert [line.split()[5:9] for line in home.log().splitlines() if "the ledger" in line] == [
        ["can't", "be", "written:", "disk"],
        ["is", "written", "again"],
    ]


def test_what_is_hidden_is_in_no_file_of_the_ledger(home: Home) -> None:
    up(home, EMBEDDED)
    bad = home.post("pay", "-k", '{"password": "s3cret", "to": "somebody"}')
    entry = known(home, bad, "failed")
    assert json.loads(entry.message or "")["hidden"]
    files = list(home.path.glob(".celeryfleet/*/ledger.sqlite*"))
    assert files
    assert not [file for file in files if b"s3cret" in file.read_bytes()]
    assert [file for file in files if b"somebody" in file.read_bytes()]


def test_without_a_ledger_nothing_is_written_and_with_one_again_it_goes_on(home: Home) -> None:
    text = FLEET.format(**EMBEDDED, pool="prefork")
    home.write(text.replace("{hide: [password]}", "false"), TASKS).up()
    assert home.send("add", "1", "2") == 3
    assert not list(home.path.glob(".celeryfleet/*/ledger*"))
    (home.path / "fleet.yaml").write_text(text)
    home.up()
    known(home, home.post("add", "1", "2"), "succeeded")


def test_another_size_of_the_ledger_forgets_nothing_of_what_runs(home: Home) -> None:
    up(home, EMBEDDED)
    runs = home.post("until", "go")
    pid = known(home, runs, "running").pid
    text = (home.path / "fleet.yaml").read_text()
    (home.path / "fleet.yaml").write_text(text.replace("{hide: [password]}", "{hide: [password], max_size: 9MB}"))
    home.up()
    known(home, home.post("add", "1", "2", "--countdown", "60"), "scheduled")  # the new one is written
    assert known(home, runs, "running", "unknown").state == "running"
    assert pid in home.processes()
    (home.path / "go").touch()
    known(home, runs, "succeeded")


def test_a_disk_that_takes_nothing_stops_no_task(home: Home) -> None:
    home.write(FLEET.format(**EMBEDDED, pool="prefork"), TASKS)
    (home.path / ".celeryfleet" / "shop" / "ledger.sqlite").mkdir(parents=True)
    home.up()
    assert home.send("add", "1", "2") == 3
    eventually(lambda: "ledger.sqlite can't be written" in home.log())
    assert home.log().count("can't be written") == 1
