"""What the decisions aim at: a plan with every worker spelt out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celeryfleet.plan.values import BeatPlan, Plan, PoolPlan, WorkerSpec, number_of


@dataclass(frozen=True, slots=True)
class Target:
    """A plan with every worker spelt out, in the order in which they start."""

    plan: Plan
    specs: Mapping[str, WorkerSpec]
    pools: Mapping[str, PoolPlan]
    #: the latest one of other code that was imported
    former: Target | None = None

    @classmethod
    def of(cls, plan: Plan, former: Target | None = None) -> Target:
        """Spell out a plan."""
        pools = plan.pools if plan.beat is None else (*plan.pools, _beat_pool(plan, plan.beat))
        specs = [plan.worker(pool, n) for pool in pools for n in pool.numbers]
        return cls(plan, {spec.name: spec for spec in specs}, {pool.name: pool for pool in pools}, former)

    def followed_by(self, plan: Plan, imported: bool) -> Target:
        """Spell out the plan to follow after this one, whose code is imported or not."""
        newer = plan.generation != self.plan.generation
        return Target.of(plan, replace(self, former=None) if newer and imported else self.former)

    def former_spec(self, spec: WorkerSpec) -> WorkerSpec | None:
        """Say what a worker would be on the code before; None if its pool was not there."""
        pool = self.former.pools.get(spec.pool) if self.former else None
        if self.former is None or pool is None:
            return None
        return self.former.plan.worker(pool, number_of(spec.name))

    @property
    def forks(self) -> bool:
        """Tell whether some worker is to be forked from a preloaded server."""
        pools = self.pools.values()
        return any(pool.fork and (pool.replicas or pool.autoscale is not None) for pool in pools)

    @property
    def embeds(self) -> bool:
        """Tell whether the broker is part of the fleet."""
        return bool(self.plan.broker.argv)


def _beat_pool(plan: Plan, beat: BeatPlan) -> PoolPlan:
    """Treat the one `celery beat` as a pool of one, that reads no queue."""
    return PoolPlan(
        name="beat",
        queues=(),
        replicas=1,
        implementation="beat",
        concurrency=1,
        argv=beat.argv,
        options={
            "hostname": f"{{name}}@{plan.fleet}",
            "pool": "beat",
            "schedule": beat.file,
            "loglevel": plan.logs.level.upper(),
        },
        conf={"beat_schedule": beat.schedule},
        env={},
        fork=any(pool.fork for pool in plan.pools),
        grace=10.0,
    )
