"""Where is my task? Asked of real fleets while all goes well, and while things go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually
from tests.machine_services import rabbit as rabbit_server
from tests.servers import redis_server

TASKS = (
    APP
    + """

@app.task(bind=True, max_retries=2)
def again(self):
    raise self.retry(countdown=3600, exc=ValueError("not yet"))
"""
)
EARLY = FLEET.replace("{task_acks_late: true, task_reject_on_worker_lost: true}", "{}")


def why(home: Home, *words: str, code: int = 0) -> dict[str, Any]:
    done = home.run("why", *words, "--json", check=False)
    assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found)[:4] == ["schema_version", "id", "task", "state"]
    return found


def state(home: Home, task: str) -> str:
    return str(json.loads(home.run("why", task, "--json", check=False).stdout)["state"])


def started(home: Home, name: str) -> str:
    """Send a task and wait until it runs; return its id."""
    task = home.post("until", name)
    eventually(lambda: f"start {name}" in home.trace())
    return task


@pytest.fixture(params=["with a ledger", "without"])
def ledger(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "with a ledger" else "ledger: false\n"


def test_a_task_is_told_of_wherever_it_is(home: Home, ledger: str) -> None:
    home.write(FLEET + ledger, TASKS).up()
    runs = started(home, "one")
    waits = home.post("until", "two")
    late = home.post("until", "three", "--expires", "0.2")
    later = home.post("add", "1", "1", "--countdown", "3600")
    retried, failed, done = home.post("again"), home.post("boom"), home.post("add", "1", "2")
    eventually(lambda: home.run("result", done, check=False).returncode == 0)

    found = why(home, runs)
    assert (found["state"], found["worker"], found["task"]) == ("running", "mail-1", "shop.until")
    assert found["queue"] == "mail"
    found = why(home, waits)
    assert (found["state"], found["queue"], found["position"], found["of"]) == ("waiting", "mail", 1, 2)
    assert "mail-1 is busy with shop.until" in found["because"][1]
    assert found["since_s"] >= 0
    assert eventually(lambda: state(home, late) == "expired")
    found = why(home, later)
    assert (found["state"], found["worker"]) == ("scheduled", "web-1")
    assert 0 < found["eta_s"] <= 3600
    assert why(home, retried)["state"] == "retrying"
    found = why(home, failed)
    assert (found["state"], found["error"], found["worker"]) == ("failed", "ValueError: boom of the test", "web-1")
    assert why(home, done)["state"] == "succeeded"

    home.run("pause", "mail")
    found = why(home, waits)
    assert found["because"][1].startswith("mail has been paused for ")
    assert "celeryfleet resume mail" in home.run("why", waits).stdout
    revoke = "import sys, celeryfleet, shop; celeryfleet.install(shop.app); shop.app.control.revoke(sys.argv[1])"
    subprocess.run([sys.executable, "-c", revoke, waits], cwd=home.path, env=home.env, check=True)
    assert eventually(lambda: state(home, waits) == "revoked")
    home.run("resume", "mail")
    (home.path / "one").touch()
    eventually(lambda: home.worker("mail-1")["active"] == 0)
    assert state(home, runs) == "succeeded"
    assert eventually(lambda: home.status()["queues"][1]["ready"] + home.status()["queues"][1]["unacked"] == 0)
    if not ledger:
        assert (state(home, waits), state(home, late)) == ("revoked", "expired")


def test_a_queue_and_a_task_by_its_name_are_told_of_and_a_mistyped_word_is_guessed(home: Home) -> None:
    home.write(FLEET.replace("mail: }", "mail: , low: }"), TASKS).up()
    runs = started(home, "one")
    waits = home.post("until", "two")
    home.run("send", "until", "three", "--queue", "low", "--force", "--no-wait")
    found = why(home, "mail")
    assert (found["queue"], found["state"], found["of"]) == ("mail", "waiting", 1)
    assert found["because"][1].startswith("mail-1 is busy with shop.until for ")
    assert "no pool reads low" in why(home, "low")["because"]
    found = why(home, "until")
    assert (found["task"], found["state"], found["of"]) == ("shop.until", "running", 2)
    assert f"{runs} running on mail-1" in found["because"][0]
    found = why(home, runs[:10])
    assert (found["id"], found["state"]) == (runs, "running")
    assert why(home, waits[:10])["id"] == waits, "it was unknown until a worker had had it"
    home.run("revoke", waits[:10])
    assert state(home, waits) == "revoked", "what was revoked was a task whose whole id that is, and it was said to be"
    done = home.run("why", "untli", check=False)
    assert done.returncode == 1
    assert 'Did you mean "until"?' in done.stdout
    assert "unknown" in home.run("why", "11111111-2222-3333-4444-555555555555", check=False).stdout


def test_the_stack_of_a_task_that_runs_is_told(home: Home) -> None:
    home.write().up()
    runs = started(home, "one")
    eventually(lambda: "pid" in why(home, runs)["because"][0])
    said = home.run("why", runs, "--stack").stdout
    assert 'shop.py", line' in said
    assert "in until" in said
    assert "billiard" not in said, "what Celery does to get there is not told"
    assert home.worker("mail-1")["restarts"] == 0
    (home.path / "one").touch()
    eventually(lambda: "end one" in home.trace())
    assert "no stack: it does not run." in home.run("why", runs, "--stack").stderr


@pytest.mark.parametrize("acks", ["late", "early"])
def test_a_task_whose_worker_was_killed_is_lost_or_runs_again(home: Home, acks: str) -> None:
    home.write(FLEET if acks == "late" else EARLY + "results: none\n").up()
    runs = started(home, "one")
    eventually(lambda: state(home, runs) == "running")
    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["restarts"] == 1)
    if acks == "early":
        found = why(home, runs)
        assert (found["state"], found["worker"]) == ("lost", "mail-1")
        result = home.run("result", runs, check=False)
        assert result.returncode == 1, "it was said not to be over"
        assert f"error: shop.until ({runs}) failed: its worker ended while it ran" in result.stderr
        return
    eventually(lambda: home.trace().count("start one") == 2)
    assert eventually(lambda: state(home, runs) == "running")
    (home.path / "one").touch()
    assert eventually(lambda: state(home, runs) == "succeeded")


def test_of_what_is_to_come_of_a_canvas_it_is_told_what_that_waits_for(home: Home) -> None:
    """`canvas --no-wait` prints the id of a step to come, or of a group: of both it was said that nobody knows them."""
    home.write(EARLY, TASKS).up()

    def canvas(text: str) -> str:
        return str(json.loads(home.run("canvas", text, "--no-wait", "--json").stdout)["id"])

    chain = canvas("until.si('one') | add.si(1, 2)")
    eventually(lambda: "start one" in home.trace())
    eventually(lambda: "runs on mail-1" in why(home, chain)["because"][0])
    found = why(home, chain)
    assert (found["state"], found["task"]) == ("waiting", "shop.add")
    home.run("pause", "mail")
    group = canvas("group(until.si('two'), add.si(1, 2))")
    eventually(lambda: "succeeded" in why(home, group)["because"][0])
    found = why(home, group)
    assert found["state"] == "waiting"
    assert "1 task waiting" in found["because"][0]

    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: state(home, chain) == "lost")
    found = why(home, chain)
    assert found["because"][0].startswith("it is not sent, since it follows shop.until (")


def test_what_a_producer_without_the_fleet_has_sent_is_found_where_nobody_reads_it(home: Home) -> None:
    """It was said that it was never sent."""
    with redis_server() as path:
        url = f"redis+socket://{path}?virtual_host=0"
        home.write(f"{FLEET}broker: {url}\n").up()
        plain = f"import shop; shop.app.conf.broker_url = '{url}'; print(shop.app.send_task('shop.add', (1, 2)).id)"
        done = subprocess.run(
            [sys.executable, "-c", plain], cwd=home.path, env=home.env, check=True, capture_output=True
        )
        found = why(home, done.stdout.decode().strip())
        assert (found["state"], found["queue"], found["position"]) == ("waiting", "celery", 1)
        assert "no pool reads celery" in found["because"]
        home.run("down")


def test_a_process_that_a_signal_has_stopped_is_named(home: Home) -> None:
    home.write().up()
    runs = started(home, "one")
    child = int(eventually(lambda: why(home, runs)["because"][0].partition("pid ")[2]).rstrip(")"))
    os.kill(child, signal.SIGSTOP)
    assert eventually(lambda: f"its process {child} is stopped by a signal" in why(home, runs)["because"])
    os.kill(child, signal.SIGCONT)
    waits = home.post("until", "two")
    worker = home.pid("mail-1")
    os.kill(worker, signal.SIGSTOP)
    assert f"mail-1 (pid {worker}) is stopped by a signal" in why(home, waits)["because"]
    os.kill(worker, signal.SIGCONT)


def test_without_its_broker_and_when_it_is_down_a_fleet_still_tells_what_it_knows(home: Home) -> None:
    with redis_server() as path:
        home.write(f"{FLEET}broker: redis+socket://{path}?virtual_host=0\n").up()
        failed = home.post("boom")
        eventually(lambda: state(home, failed) == "failed")
        runs = started(home, "one")
        eventually(lambda: state(home, runs) == "running")
    found = why(home, failed)
    assert found["state"] == "failed"
    assert any("the broker" in text and "cannot be asked" in text for text in found["because"])
    assert why(home, runs)["state"] == "running"
    found = why(home, "11111111-2222-3333-4444-555555555555", code=1)
    assert found["state"] == "unknown"
    assert any("cannot be asked" in text for text in found["because"])
    home.run("down", "--cold")
    assert why(home, failed)["state"] == "failed"


def test_after_a_supervisor_was_killed_it_is_told_what_its_workers_still_do_and_then_what_the_result_says(
    home: Home,
) -> None:
    home.write().up()
    runs = started(home, "one")
    eventually(lambda: "pid" in why(home, runs)["because"][0])
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    found = why(home, runs)
    assert (found["state"], found["worker"]) == ("running", "mail-1")
    assert "the supervisor is gone: mail-1 ends its task, and stops" in found["because"]
    (home.path / "one").touch()
    eventually(lambda: not home.processes())
    assert why(home, runs, code=1)["state"] == "unknown"
    home.up()
    found = why(home, runs)
    assert (found["state"], found["because"][0]) == ("succeeded", "its result says SUCCESS, by mail-1")


def test_what_a_killed_supervisor_reported_last_is_not_another_host_that_works(home: Home) -> None:
    """For half a minute a worker of that host was said to be free, and nothing of what to do."""
    with redis_server() as path:
        home.write(FLEET.replace("broker: embedded", "") + f"broker: redis+socket://{path}\n").up()
        failed = home.post("boom")
        assert eventually(lambda: state(home, failed) == "failed")
        os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
        eventually(lambda: not home.processes())
        assert "the fleet is not running" in why(home, "mail")["because"]
    told = home.run("result", failed, check=False)
    assert (told.returncode, "boom of the test" in told.stderr) == (1, True), "the ledger knows it without the broker"


@pytest.fixture
def on_rabbit(home: Home) -> Iterator[tuple[Home, str]]:
    with rabbit_server() as rabbit:
        default, mail = rabbit.name("default"), rabbit.name("mail")
        fleet = FLEET.replace("default", default).replace("mail: }", f"{mail}: }}", 1)
        fleet = fleet.replace("queue: mail", f"queue: {mail}").replace("[mail]", f"[{mail}]")
        fleet = fleet.replace("name: shop", f"name: {rabbit.fleet}").replace("multiplier: 1", "multiplier: 2")
        home.write(f"{fleet}broker: {rabbit.url}\nresults: none\ndefault_queue: {default}\n", TASKS).up()
        yield home, mail
        home.run("down", "--cold")


def test_on_a_rabbitmq_it_is_told_without_a_look_into_the_queues(on_rabbit: tuple[Home, str]) -> None:
    home, mail = on_rabbit
    runs = started(home, "one")
    taken, waits, waits_too = (home.post("until", name) for name in ("two", "three", "four"))
    assert eventually(lambda: state(home, runs) == "running")
    assert eventually(lambda: state(home, taken) == "taken")
    found = why(home, waits, code=1)
    assert (found["state"], found["position"]) == ("unknown", None)
    assert f"it may be among those that wait: 2 in {mail}" in found["because"][1]
    home.run("pause", mail)
    assert any(text.startswith(f"{mail} has been paused for") for text in why(home, waits, code=1)["because"])
    home.run("resume", mail)
    failed, retried = home.post("boom"), home.post("again")
    assert eventually(lambda: state(home, failed) == "failed")
    assert eventually(lambda: state(home, retried) == "retrying")
    found = why(home, mail)
    assert (found["state"], found["of"]) == ("waiting", 2)
    assert "how many are its own is not told" in " ".join(why(home, "until")["because"])
    for name in ("one", "two", "three", "four"):
        (home.path / name).touch()
    assert eventually(lambda: state(home, waits_too) == "succeeded")
    assert "redelivered" not in home.log("mail-1")
