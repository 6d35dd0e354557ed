"""How many workers it takes, of a fleet that has run, and without one."""

from __future__ import annotations

import json

from tests.e2e.conftest import FLEET, Home
from tests.fakes import eventually

KNOWN = ("--rate", "mail=3/s", "--runtime", "mail=80ms")


def test_plan_measures_what_came_and_says_how_many_workers_it_takes(home: Home) -> None:
    home.write(FLEET.replace("mail: }", "mail: {max_age: 30s}}")).up()
    home.run("send", "add", "1", "2", "--count", "300", "--no-wait")
    home.run("send", "add", "1", "2", "--queue", "mail")
    eventually(lambda: not home.status()["queues"][0]["ready"])
    default, mail = json.loads(home.run("plan", "--json", "--what-if", "web=3").stdout)["queues"]
    assert (default["name"], default["pool"], default["replicas"], default["concurrency"]) == ("default", "web", 1, 1)
    assert default["rate_per_s"] > mail["rate_per_s"] > 0
    assert 0 < default["runtime_s"] < 0.1
    assert 0 < default["load"] < 1
    assert default["wait_p50_s"] <= default["wait_p95_s"] < 1
    assert default["drained_in_s"] == default["backlog"] == 0
    shown = home.run("plan", "--rate", "default=30/s", "--runtime", "default=0.1s", "--what-if", "web=4").stdout
    assert "• mail: the 1 worker of mail will keep p95 under 30s" in shown
    assert "• default: 3 workers more of web will keep up (4 × 1 in all, p95 " in shown
    assert "now it grows by " in shown


def test_plan_without_history_says_what_to_give_it_and_guesses_names(home: Home) -> None:
    home.write(FLEET.replace("mail: }", "mail: , nobody: }"))
    for words, said in (
        ((), "no task has ended of late"),
        (("--rate", "mial=3/s"), 'Did you mean "mail"?'),
        (("--rate", "mail=3"), "20/s, 90/m, 5/h"),
        (("--rate", "mail=3/s"), "celeryfleet plan --rate mail=3/s --runtime mail=80ms"),
        (("--target", "mail p95 = 5s"), "'mail p95 < 5s'"),
        (("--what-if", "wbe=2"), 'Did you mean "web"?'),
        (("--what-if", "web=100000000"), "more than 100,000 tasks at a time"),  # was simulated for minutes
        (("--rate", "mail=1000000000/s", "--runtime", "mail=1s"), "more than 100,000 tasks at a time"),
        (("--runtime", "mail=3s"), "celeryfleet plan --rate mail=20/s --runtime mail=80ms"),
        (("--target", "mail p95 < 0s"), "less than nothing"),  # was "no number of workers would keep up"
        (("--target", "default p95 < 1s", *KNOWN), "nothing is known of what comes into default"),  # was a traceback
        (("--target", "nobody p95 < 1s", *KNOWN), "no pool reads nobody"),  # was passed over in silence
    ):
        done = home.run("plan", *words, check=False)
        assert done.returncode == 2
        assert said in done.stderr
    drawn = home.run("plan", *KNOWN, "--format", "svg").stdout
    assert drawn.startswith("<svg")
    assert "mail: the 1 worker of mail will keep up" in drawn


def test_plan_knows_of_late_acks_where_rates_are_given(home: Home) -> None:
    """They were left out: each worker was thought to take a message ahead."""
    waits = []
    for late in ("false", "true"):
        home.write(FLEET.replace("task_acks_late: true", f"task_acks_late: {late}"))
        words = ("--rate", "mail=4/m", "--runtime", "mail=20s", "--what-if", "mail=2", "--json")
        waits.append(json.loads(home.run("plan", *words).stdout)["what_if"]["queues"][0]["wait_p95_s"])
    assert waits[1] < waits[0]
