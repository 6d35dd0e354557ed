"""What went wrong is listed, sent again once, and what is not wanted any more is revoked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from kombu import Connection

from tests.e2e.conftest import APP, EMBEDDED, Home
from tests.fakes import eventually
from tests.servers import redis_server

TASKS = (
    APP
    + '''

@app.task
def pay(password, to):
    """Fail until there is money."""
    with (here / "trace").open("a") as trace:
        trace.write(f"pay {to}\\n")
    if not (here / "money").exists():
        raise ValueError("no money")
    return to
'''
)
FLEET = """
name: {name}
app: shop
{broker}
{ledger}
queues: {{{queue}: }}
pools:
  web: {{queues: [{queue}], pool: {pool}, prefetch_multiplier: 4}}
"""


def up(home: Home, where: dict[str, str], pool: str = "prefork", ledger: str = "") -> Home:
    return home.write(FLEET.format(**where, pool=pool, ledger=ledger), TASKS).up()


def document(home: Home, *words: str, key: str = "tasks") -> Any:
    found = json.loads(home.run(*words, "--json").stdout)
    assert found["schema_version"] == 1
    return found[key]


def failures(home: Home, count: int) -> list[dict[str, Any]]:
    return list(eventually(lambda: found if len(found := document(home, "failed")) == count else None) or ())


def test_a_task_that_failed_is_sent_again_as_it_was_under_another_id_and_once(
    broker: dict[str, str], home: Home
) -> None:
    up(home, broker)
    first = home.post("pay", "pin", "to=bob", "--priority", "7")
    (told,) = failures(home, 1)
    assert (told["id"], told["task"], told["queue"], told["worker"]) == (first, "shop.pay", broker["queue"], "web-1")
    assert (told["error"], told["retried_as"]) == ("ValueError: no money", None)
    assert told["wait_s"] >= 0
    (home.path / "money").touch()
    said = home.run("retry", first[:8]).stderr
    (told,) = document(home, "failed")
    assert f"({first}) is sent again as {told['retried_as']}" in said
    assert told["retried_as"] not in (None, first)
    eventually(lambda: home.trace() == ["pay bob", "pay bob"])
    refused = home.run("retry", first, check=False)
    assert refused.returncode == 1
    assert "--again does it once more" in refused.stderr
    assert "0 tasks" in home.run("retry", "--all").stderr
    home.run("retry", first, "--again")
    eventually(lambda: len(home.trace()) == 3)


def test_two_who_retry_all_at_once_send_nothing_twice(home: Home) -> None:
    up(home, EMBEDDED)
    lines = [json.dumps({"task": "shop.pay", "args": ["pin", str(number)]}) for number in range(60)]
    (home.path / "jobs.jsonl").write_text("\n".join(lines))
    home.run("send", "--from", "jobs.jsonl", "--no-wait")
    failures(home, 60)
    (home.path / "money").touch()
    both = [home.start("retry", "--all", "--task", "shop.p*"), home.start("retry", "--all")]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    eventually(lambda: len(home.trace()) == 120)
    assert set(Counter(home.trace()).values()) == {2}
    assert all(one["retried_as"] for one in document(home, "failed"))


def test_of_two_who_retry_one_task_at_once_the_second_is_told_what_it_was_sent_again_as(home: Home) -> None:
    up(home, EMBEDDED)
    bad = home.post("boom")
    failures(home, 1)
    both = [home.start("retry", bad) for _ in range(3)]
    said = sorted((process.communicate(timeout=60)[0], process.returncode) for process in both)
    again = next(one["retried_as"] for one in document(home, "failed") if one["id"] == bad)
    assert sorted(code for _, code in said) == [0, 1, 1], said
    for text, code in said:
        told = "is sent again as" if code == 0 else "is not sent again: it was sent again as"
        assert f"({bad}) {told} {again}" in text


def test_ctrl_c_right_after_a_task_was_sent_again_does_not_have_it_sent_twice(home: Home) -> None:
    up(home, EMBEDDED)
    home.post("pay", "pin", "bob")
    failures(home, 1)
    interrupted = """if True:
        from celeryfleet.cli.entry import main
        from celeryfleet.client import again
        publish = again._publish
        def sent_and_interrupted(*words):
            publish(*words)
            raise KeyboardInterrupt
        again._publish = sent_and_interrupted
        main()
        """
    argv = [sys.executable, "-c", interrupted, "retry", "--all"]
    done = subprocess.run(argv, cwd=home.path, env=home.env, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    first, second = sorted(failures(home, 2), key=lambda one: one["retried_as"] is None)
    assert first["retried_as"] == second["id"]
    assert "1 task is sent again" in home.run("retry", "--all").stderr


def test_a_task_whose_arguments_were_hidden_is_not_sent_again(home: Home) -> None:
    up(home, EMBEDDED, ledger="ledger: {hide: [password]}")
    home.post("pay", "-k", '{"password": "s3cret", "to": "bob"}')
    failures(home, 1)
    refused = home.run("retry", "--all", check=False)
    assert refused.returncode == 1
    assert "were hidden" in refused.stderr


def test_without_a_ledger_what_needs_one_says_so(home: Home) -> None:
    up(home, EMBEDDED, ledger="ledger: false")
    assert document(home, "failed") == []
    for words in (["active"], ["status", "--tasks"]):
        refused = home.run(*words, check=False)
        assert refused.returncode == 2
        assert "ledger: false" in refused.stderr


def test_what_runs_is_shown_and_can_be_ended_and_what_waits_is_thrown_away(broker: dict[str, str], home: Home) -> None:
    up(home, broker)
    runs, waits = home.post("until", "never"), home.post("until", "waits")
    later = home.post("pay", "pin", "later", "--countdown", "3600")
    (active,) = eventually(lambda: document(home, "active"))
    assert (active["id"], active["task"], active["worker"]) == (runs, "shop.until", "web-1")
    assert active["pid"] in home.processes()
    assert active["running_s"] >= 0
    said = home.run("revoke", runs, waits, later).stderr
    assert f"({runs}) runs on web-1 and goes on: --terminate ends it." in said
    home.run("revoke", runs, "--terminate")
    states = {}

    def over() -> bool:
        from celeryfleet.ledger.read import Ledger

        (file,) = home.path.glob(".celeryfleet/*/ledger.sqlite")
        with Ledger(str(file)) as ledger:
            states.update({each: (ledger.find(each) or active).state for each in (runs, waits)})
        return set(states.values()) == {"revoked"}

    eventually(over)
    assert home.trace() == ["start never"]
    assert "no worker has had 0000 yet" in home.run("revoke", "0000").stderr
    again = home.run("revoke", runs, check=False)
    assert again.returncode == 1
    assert "is over: revoked" in again.stderr


def test_a_task_of_a_pool_without_processes_cannot_be_ended(home: Home) -> None:
    up(home, EMBEDDED, "threads")
    runs = home.post("until", "go")
    eventually(lambda: document(home, "active"))
    refused = home.run("revoke", runs, "--terminate", check=False)
    assert refused.returncode == 2
    assert "not supported" in refused.stderr
    (home.path / "go").touch()


def test_results_and_statistics_tell_of_task_worker_queue_and_traceback(home: Home) -> None:
    up(home, EMBEDDED)
    good, bad = home.post("add", "1", "2"), home.post("boom")
    failures(home, 1)
    found = json.loads(eventually(lambda: home.run("result", good, "--json", check=False).stdout))
    assert [found[name] for name in ("task", "queue", "worker", "result")] == ["shop.add", "default", "web-1", 3]
    assert found["wait_s"] >= 0
    assert found["runtime_s"] >= 0
    assert json.loads(home.run("result", good[:8], "--json").stdout)["result"] == 3
    failed = home.run("result", bad, "--json", check=False)
    assert failed.returncode == 1
    assert "in boom" in json.loads(failed.stdout)["traceback"]
    assert (json.loads(failed.stdout)["task"], json.loads(failed.stdout)["worker"]) == ("shop.boom", "web-1")
    rows = {one["task"]: one for one in document(home, "status", "--tasks", "--since", "10m")}
    assert (rows["shop.add"]["count"], rows["shop.add"]["failed"]) == (1, 0)
    assert (rows["shop.boom"]["count"], rows["shop.boom"]["failed"]) == (1, 1)
    assert rows["shop.add"]["wait_p50_s"] == found["wait_s"]
    assert "shop.boom" in home.run("status", "--tasks").stdout
    for words, reason in ((["--watch", "--tasks"], "exclude each other"), (["--since", "1h"], "goes with --tasks")):
        refused = home.run("status", *words, check=False)
        assert refused.returncode == 2
        assert reason in refused.stderr
    runs = home.post("until", "never")
    eventually(lambda: "start never" in home.trace())
    home.run("revoke", runs, "--terminate")
    eventually(lambda: "revoked" in home.run("result", runs, check=False).stderr)
    said = home.run("result", runs, check=False).stderr
    assert f"error: shop.until ({runs}) was revoked: TaskRevokedError: terminated" in said
    assert f"error: shop.boom ({bad}) failed: ValueError" in home.run("result", bad, check=False).stderr
    home.run("down")
    stopped = home.run("failed")
    assert bad in stopped.stdout, "the ledger tells while the fleet is stopped, too"
    assert "what is parked is not known: the fleet's own broker does not answer" in stopped.stderr


@pytest.mark.parametrize("broker", ["rabbit"], indirect=True)
def test_a_queue_that_the_broker_has_not_takes_no_task_again_and_the_task_can_be_sent_later(
    broker: dict[str, str], home: Home
) -> None:
    up(home, broker)
    first = home.post("pay", "pin", "bob")
    failures(home, 1)
    home.run("retry", first)
    known = {one["id"]: one["retried_as"] for one in failures(home, 2)}
    home.run("down")
    with Connection(broker["url"]) as connection, connection.channel() as channel:
        channel.queue_delete(broker["queue"])
    refused = home.run("retry", "--all", check=False)
    assert refused.returncode == 1
    assert f'the broker has no queue "{broker["queue"]}".' in refused.stderr
    assert home.run("retry", first, "--again", check=False).returncode == 1
    assert {one["id"]: one["retried_as"] for one in document(home, "failed")} == known, "as before, also of the first"


def test_a_revocation_that_other_hosts_cannot_be_told_says_so(home: Home) -> None:
    """It said nothing where the broker was away, and the task would have run on another host."""
    with redis_server() as path:
        up(home, {"name": "shop", "broker": f"broker: redis+socket://{path}", "queue": "default"})
    revoked = home.run("revoke", "0f3ba1d2-0000-4000-8000-000000000000")
    assert "other hosts, if there are any, do not know of it, as the broker cannot be asked" in revoked.stderr
