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
