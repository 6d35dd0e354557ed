"""What `status` and `health` say of a fleet, made of the supervisor's reply and the broker's depths. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from celeryfleet.text import counted

TYPE_CHECKING = False  # spares the lean path the import of typing, 7 ms
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from celeryfleet.depths import Depth
    from celeryfleet.plan.values import Plan, PoolPlan

    #: a status reply with the broker's state and the depths filled in; the table shows it, `document` is its JSON
    Report: TypeAlias = dict[str, Any]

_UNKNOWN: Depth = {"ready": None, "unacked": None, "oldest_age_s": None}
_POOL = ("name", "queues", "want", "ready")
_WORKER = (
    "name",
    "node",
    "pid",
    "state",
    "uptime_s",
    "restarts",
    "active",
    "processed",
    "failed",
    "rss_bytes",
    "last_exit",
)
_QUEUE = ("name", "ready", "unacked", "oldest_age_s", "consumers")


def report(status: Mapping[str, Any], depths: Mapping[str, Depth] | None, trouble: str = "") -> Report:
    """Join what the supervisor and the broker say.

    `depths` is None where the broker does not tell them; `trouble` says why it can't be reached, if so.
    """
    state = "degraded" if trouble and status["state"] == "ready" else status["state"]
    return {
        **status,
        "state": state,
        "broker": {
            "shown": status["broker"]["shown"],
            "label": "embedded" if status["broker"].get("socket") else status["broker"]["shown"],
            "state": "down" if trouble else "up",
            "trouble": trouble,
        },
        "queues": [{**queue, **(depths or {}).get(queue["name"], _UNKNOWN)} for queue in status["queues"]],
    }


def down(fleet: str, plan: Plan | None = None, depths: Mapping[str, Depth] | None = None) -> Report:
    """Report a fleet whose supervisor does not run, in the same shape.

    `depths` are those of a broker that is not the fleet's own, and so may be up without it.
    """
    pools = [] if plan is None else [_stopped(plan, pool) for pool in plan.pools]
    names = [] if plan is None else [(queue.name, queue.max_age) for queue in plan.queues]
    queues = [{"name": name, "max_age": age, "consumers": 0} for name, age in names]
    return {
        "fleet": fleet,
        "state": "down",
        "supervisor": {"pid": None, "uptime_s": None},
        "notes": [],
        "broker": {
            "shown": "" if plan is None else plan.broker.shown,
            "label": "" if plan is None else "embedded" if plan.broker.argv else plan.broker.shown,
            "state": "down" if depths is None else "up",
            "trouble": "",
        },
        "pools": pools,
        "queues": [{**queue, **(depths or {}).get(str(queue["name"]), _UNKNOWN)} for queue in queues],
    }


def document(report: Report, command: str = "status") -> dict[str, Any]:
    """Return what `status`, `ps` or `queues` prints as JSON, to the letter of its schema, version 1."""
    whole = _whole(report)
    if command == "status":
        return whole
    listed = whole["queues"] if command == "queues" else list(_workers(whole["pools"]))
    return {"schema_version": 1, "fleet": whole["fleet"], "queues" if command == "queues" else "workers": listed}


def _workers(pools: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for pool in pools:
        for worker in pool["workers"]:
            yield {"name": worker["name"], "pool": pool["name"], **worker}


def _whole(report: Report) -> dict[str, Any]:
    broker = report["broker"]
    return {
        "schema_version": 1,
        "fleet": report["fleet"],
        "state": report["state"],
        "supervisor": {key: report["supervisor"][key] for key in ("pid", "uptime_s")},
        "broker": {"url": broker["shown"], "state": broker["state"]},
        "pools": [
            {**{key: pool[key] for key in _POOL}, "workers": [_only(worker, _WORKER) for worker in pool["workers"]]}
            for pool in report["pools"]
        ],
        "queues": [_only(queue, _QUEUE) for queue in report["queues"]],
    }


def health(status: Mapping[str, Any], pool: str = "") -> tuple[bool, str]:
    """Decide whether everything wanted is ready, in one pool or in all, and say so in one line.

    Raises FleetError for a pool that does not exist.
    """
    pools = [found for found in status["pools"] if pool in ("", found["name"])]
    if pool and not pools:
        from celeryfleet.errors import FleetError

        known = ", ".join(found["name"] for found in status["pools"])
        raise FleetError(f'there is no pool "{pool}".', hint=f"The pools are {known}.")
    if status["state"] in ("stopping", "down"):
        return False, f"{status['fleet']} is {status['state']}"
    short = [found for found in pools if found["ready"] < found["want"]]
    if short:
        return False, "; ".join(_lack(found) for found in short)
    if status["state"] == "degraded" and not pool:
        return False, " ".join([f"{status['fleet']} is degraded.", *status["notes"]])
    want = sum(found["want"] for found in pools)
    return True, f"{pool or status['fleet']} is ready: {want} of {counted(want, 'worker')}"


def _lack(pool: Mapping[str, Any]) -> str:
    others = [worker for worker in pool["workers"] if worker["state"] != "ready"]
    named = ", ".join(f"{worker['name']} {worker['state']}" for worker in others[:3])
    more = f", and {len(others) - 3} more" if len(others) > 3 else ""
    return f"{pool['name']}: {pool['ready']} of {pool['want']} ready" + (f" ({named}{more})" if named else "")


def _stopped(plan: Plan, pool: PoolPlan) -> dict[str, Any]:
    specs = [plan.worker(pool, number) for number in range(1, pool.replicas + 1)]
    idle = dict.fromkeys(("restarts", "active", "processed", "failed"), 0)
    return {
        "name": pool.name,
        "queues": list(pool.queues),
        "want": pool.replicas,
        "ready": 0,
        "kind": pool.kind,
        "concurrency": pool.concurrency,
        "workers": [
            {
                "name": spec.name,
                "node": spec.node,
                "pid": None,
                "state": "stopped",
                "uptime_s": 0.0,
                **idle,
                "rss_bytes": None,
                "last_exit": None,
                "cause": "",
            }
            for spec in specs
        ],
    }


def _only(value: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value[key] for key in keys}
