"""What the decisions aim at: a plan with every worker spelt out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from celeryfleet.plan.values import BeatPlan, Plan, PoolPlan, WorkerSpec, number_of


@dataclass(frozen=True, slots=True)
class Target:
    """A plan with every worker spelt out, in the order in which they start."""

    plan: Plan
    specs: Mapping[str, WorkerSpec]
    pools: Mapping[str, PoolPlan]
    #: the latest one of other code that was imported, by the names of apps
    former: Mapping[str, Target] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, former: Mapping[str, Target] | None = None) -> Target:
        """Spell out a plan."""
        pools = plan.pools if plan.beat is None else (*plan.pools, _beat_pool(plan, plan.beat))
        specs = [plan.worker(pool, n) for pool in pools for n in pool.numbers]
        return cls(plan, {spec.name: spec for spec in specs}, {pool.name: pool for pool in pools}, former or {})

    def followed_by(self, plan: Plan, imported: Collection[str]) -> Target:
        """Spell out the plan to follow after this one, of which the code of these apps is imported."""
        newer = plan.generation != self.plan.generation
        now = dict.fromkeys(imported, replace(self, former={})) if newer else {}
        return Target.of(plan, {**self.former, **now})

    def former_spec(self, spec: WorkerSpec) -> WorkerSpec | None:
        """Say what a worker would be on the code before; None if its pool was not there."""
        former = self.former.get(spec.app)
        pool = former.pools.get(spec.pool) if former else None
        if former is None or pool is None or pool.app != spec.app:
            return None
        return former.plan.worker(pool, number_of(spec.name))

    def follows(self, spec: WorkerSpec, digest: str) -> bool:
        """Tell whether a worker that was started from the definition with this digest may go on as it is."""
        return digest == spec.digest or spec.pool in self.plan.left_alone

    def forks(self, app: str) -> bool:
        """Tell whether some worker is to be forked from a server that has imported this app."""
        pools = [pool for pool in self.pools.values() if pool.app == app]
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
        argv=beat.argv,
        options={
            "hostname": f"{{name}}@{plan.fleet}",
            "schedule": beat.file,
            "loglevel": plan.logs.level.upper(),
            "lease": beat.lease,
            "fleet": plan.fleet,
            "host": plan.host,
        },
        conf={"worker_pool": "beat", "worker_concurrency": 1, **beat.conf},
        env={},
        fork=beat.fork,
        grace=10.0,
        app=beat.app,
    )
