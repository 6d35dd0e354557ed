"""A pool that grows with its backlog and shrinks when that is gone."""

from __future__ import annotations

from tests.e2e.conftest import FLEET, Home
from tests.fakes import eventually


def test_a_pool_grows_with_its_backlog_and_shrinks_again(home: Home) -> None:
    policy = "autoscale: {min: 1, max: 3, target_length: 2, cooldown: 100ms}"
    home.write(FLEET.replace("mail: {queues", f"mail: {{{policy}, queues")).up()
    home.run("send", "until", "flag", "--count", "8", "--no-wait")
    eventually(lambda: ready(home) == 3)
    (home.path / "flag").touch()
    eventually(lambda: ready(home) == 1)
    assert home.trace().count("end flag") == 8
    assert "scale mail to 3: " in home.log()


def ready(home: Home) -> int:
    """Count the ready workers of the pool `mail`; fewer wanted ones do not count."""
    (pool,) = (pool for pool in home.status()["pools"] if pool["name"] == "mail")
    return int(pool["ready"]) if pool["ready"] == pool["want"] else -1


def test_what_runs_counts_under_early_acks_too_and_no_busy_worker_is_cut_off(home: Home) -> None:
    policy = "autoscale: {min: 1, max: 3, target_length: 1, cooldown: 100ms}"
    early = FLEET.replace("task_acks_late: true, task_reject_on_worker_lost: true", "task_acks_late: false")
    brief = early.replace("mail: {queues: [mail], prefetch_multiplier: 1, stop_grace_period: 30s}", "mail: {POOL}")
    home.write(brief.replace("POOL", f"queues: [mail], stop_grace_period: 1s, {policy}")).up()
    names = ("one", "two", "three")
    for name in names:
        home.post("until", name)
    eventually(lambda: ready(home) == 3)
    eventually(lambda: len(home.trace()) >= 2)
    (home.path / "one").touch()
    eventually(lambda: "end one" in home.trace())
    eventually(lambda: ready(home) == 2)  # what came counts for ten seconds
    (home.path / "two").touch()  # one worker may have taken both that are left
    eventually(lambda: "start three" in home.trace() and "end two" in home.trace())
    eventually(lambda: ready(home) == 1)
    (home.path / "three").touch()
    eventually(lambda: len(home.trace()) == 6)
    assert sorted(home.trace()) == sorted(f"{verb} {name}" for verb in ("start", "end") for name in names)
    assert "cold" not in home.log()
