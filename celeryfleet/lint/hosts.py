"""Rules about several hosts: what runs on none of them, and what they do not share."""

from __future__ import annotations

from collections.abc import Iterator

from celeryfleet.lint.values import Case, Found, Level, rule
from celeryfleet.text import listed


@rule("CF085", "pool-on-no-host", "A pool that runs on none of the hosts", Level.WARNING)
def on_no_host(case: Case) -> Iterator[Found]:
    """Find pools, and beat, that no host is given."""
    given = {pool for host in case.fleet.hosts.values() for pool in host.pools}
    names = [pool.name for pool in case.plan.pools] + (["beat"] if case.plan.beat else [])
    for name in names if case.fleet.hosts else ():
        if name not in given:
            what = name if name == "beat" else f'the pool "{name}"'
            where = ("beat",) if name == "beat" else ("pools", name)
            hint = f"Name it under one of `hosts` ({listed(case.fleet.hosts)}), or remove it."
            yield Found(case.fleet.where(*where), f"{what} runs on none of the hosts.", hint)


@rule("CF086", "hosts-share-no-broker", "Several hosts, each with a broker of its own", Level.WARNING)
def apart(case: Case) -> Iterator[Found]:
    """Find hosts that cannot work together: an embedded broker is reached from its own machine alone."""
    if len(case.fleet.hosts) > 1 and case.plan.broker.argv:
        yield Found(
            case.fleet.where("hosts"),
            f"{listed(case.fleet.hosts)} share no broker: each runs an embedded one, which others do not reach.",
            "Give the fleet a broker that all of them reach, such as broker: redis://…",
        )


RULES = (on_no_host, apart)
