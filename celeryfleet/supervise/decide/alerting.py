"""Of what somebody is to be told: when an alert begins, and when it is over. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from celeryfleet.plan.values import AlertPlan
from celeryfleet.supervise.decide.state import Status, Worker
from celeryfleet.text import age, counted

#: measurements that are kept for the time over which something is measured, roughly
_KEPT = 30
#: tasks of which a share of failed ones is taken at least
_LEAST = 10

#: unix seconds, and counts
Samples = tuple[tuple[float, int, int], ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of a fleet at one moment."""

    workers: Collection[Worker]
    #: names of the workers that are wanted, beat-1 among them
    wanted: Collection[str]
    #: `ready` and `oldest_age_s` by queue; empty: nobody has asked, or the broker does not answer
    depths: Mapping[str, Mapping[str, Any]]


class Matter(NamedTuple):
    """What can be on, whoever is told, whatever else an alert is about, and also after a restart."""

    when: str
    #: in AlertPlan.over, with its value
    name: str
    over: float
    #: seconds
    hold: float
    #: queue mail
    what: str

    def of(self, alert: AlertPlan) -> bool:
        """Tell whether this is one of an alert's."""
        return (alert.when, alert.hold, alert.over.get(self.name)) == (self.when, self.hold, self.over)


class Notice(NamedTuple):
    """What somebody is told."""

    alert: AlertPlan
    matter: Matter
    #: else it is over
    begins: bool
    text: str
    #: unix seconds
    since: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What is remembered from one moment to the next."""

    #: those that were looked for
    alerts: Collection[AlertPlan] = ()
    #: unix seconds since when it is so, but not for long enough
    pending: dict[Matter, float] = field(default_factory=dict)
    #: the same where it was for long enough, and what is said of it
    active: dict[Matter, tuple[float, str]] = field(default_factory=dict)
    samples: dict[Matter, Samples] = field(default_factory=dict)


class _Finding(NamedTuple):
    matter: Matter
    #: None: it can't be known now
    holds: bool | None
    text: str = ""
    #: of what is measured over its `hold`, and so needs not hold for that long
    samples: Samples = ()


def judge(alerts: Collection[AlertPlan], watch: Watch, sight: Sight, now: float) -> tuple[Watch, list[Notice]]:
    """Compare a fleet with what was remembered of it; `now` is unix seconds."""
    after, notices = Watch(alerts), []
    found = [(alert, one) for alert in alerts for one in _find(alert, watch, sight, now)]
    for alert, (matter, holds, text, samples) in [
        *found,
        *_gone(alerts, watch, sight, {one.matter for _, one in found}),
    ]:
        active, pending = watch.active.get(matter), watch.pending.get(matter)
        since = active[0] if active else now if pending is None else pending
        after.samples[matter] = samples
        if active and holds is not False:
            after.active[matter] = (since, text if holds else active[1])
        elif active:
            text = f"{matter.when} of {matter.what} is over after {age(now - since)}"
            notices.append(Notice(alert, matter, False, text, since))
        elif holds and (samples or now - since >= matter.hold):
            after.active[matter] = (since, text)
            notices.append(Notice(alert, matter, True, text, since))
        elif holds or (holds is None and pending is not None):
            after.pending[matter] = since
    return after, sorted(notices, key=lambda notice: notice.begins)


def _gone(
    alerts: Collection[AlertPlan], watch: Watch, sight: Sight, found: Collection[Matter]
) -> Iterator[tuple[AlertPlan, _Finding]]:
    """Go through what was on and is no more found, also of alerts that are gone: over, unless a worker is to come."""
    for alert in watch.alerts:
        for matter in watch.active:
            if matter.of(alert) and matter not in found:
                comes = matter.what.removeprefix("worker ") in sight.wanted and any(map(matter.of, alerts))
                yield alert, _Finding(matter, None if comes else False)


# --- What holds -------------------------------------------------------------------------------------------


def _find(alert: AlertPlan, watch: Watch, sight: Sight, now: float) -> Iterator[_Finding]:
    for name, over in alert.over.items():
        of, depth = partial(Matter, alert.when, name, over, alert.hold), sight.depths.get(name)
        workers = [worker for worker in sight.workers if worker.pool == name]
        match alert.when:
            case "worker_failed" | "worker_stuck":
                yield from (_unwell(of(f"worker {worker.name}"), worker, watch) for worker in workers)
            case "oldest_age":
                yield _waiting(of(f"queue {name}"), depth)
            case "backlog_growing":
                yield _growing(of(f"queue {name}"), watch, depth, now)
            case "failure_rate":
                yield _failing(of(f"pool {name}"), watch, workers, now)
            case "no_beat" if f"{name}-1" in sight.wanted:
                status = workers[0].status if workers else Status.STARTING
                yield _Finding(of(name), status is not Status.READY, f"beat sends nothing: it is {status}")


def _unwell(matter: Matter, worker: Worker, watch: Watch) -> _Finding:
    began = worker.status is (Status.FAILED if matter.when == "worker_failed" else Status.STUCK)
    goes_on = worker.status is not Status.READY and (matter in watch.active or matter in watch.pending)
    text = f"{matter.what} is {worker.status}: {worker.stuck or worker.cause}"
    return _Finding(matter, began or goes_on, text.rstrip(": "))


def _waiting(matter: Matter, depth: Mapping[str, Any] | None) -> _Finding:
    waits = None if depth is None else depth["oldest_age_s"] if depth["ready"] else 0.0
    if waits is None:
        return _Finding(matter, None)
    text = f"the oldest message of {matter.what} waits for {age(waits)}, longer than {age(matter.over)}"
    return _Finding(matter, waits > matter.over, text)


def _growing(matter: Matter, watch: Watch, depth: Mapping[str, Any] | None, now: float) -> _Finding:
    """Tell whether in the second half of a time always more wait than in the first on average, and it goes on.

    It is over when in the second half no more wait than in the first, on average.
    """
    before = watch.samples.get(matter, ())
    if depth is None:
        return _Finding(matter, None, "", before)
    waiting, middle = depth["ready"] or 0, now - matter.hold / 2
    kept = _added(before, (now, waiting, 0), matter.hold)
    if not _whole(kept, matter.hold, now):
        return _Finding(matter, None, "", kept)
    first = [count for at, count, _ in kept if at <= middle]
    then = [*(count for at, count, _ in kept if at > middle), waiting]
    before_it, of_late = sum(first) / len(first), sum(then) / len(then)
    grows = min(then) > before_it and waiting >= of_late and waiting > matter.over
    text = f"{matter.what} grows: {counted(waiting, 'message', 'waits', 'wait')}, and {kept[0][1]:,} did before"
    return _Finding(matter, of_late > before_it if matter in watch.active else grows, text, kept)


def _failing(matter: Matter, watch: Watch, workers: Collection[Worker], now: float) -> _Finding:
    before = watch.samples.get(matter, ())
    done = sum(worker.processed_before + worker.beat.processed for worker in workers)
    failed = sum(worker.failed_before + worker.beat.failed for worker in workers)
    if before and (done < before[-1][1] or failed < before[-1][2]):
        before = ()  # a worker is gone with its counts
    kept = _added(before, (now, done, failed), matter.hold)
    done, failed = done - kept[0][1], failed - kept[0][2]
    too_many = done >= _LEAST and failed > matter.over * done
    text = f"{failed} of {done} tasks of {matter.what} failed within {age(matter.hold)}"
    return _Finding(matter, too_many or (False if _whole(kept, matter.hold, now) else None), text, kept)


def _added(before: Samples, latest: tuple[float, int, int], span: float) -> Samples:
    """Add a measurement, unless the one before it is fresh, and leave out those that are too old."""
    kept = before if before and latest[0] - before[-1][0] < span / _KEPT else (*before, latest)
    return kept[max((index for index, one in enumerate(kept) if one[0] <= latest[0] - span), default=0) :]


def _whole(samples: Samples, span: float, now: float) -> bool:
    """Tell whether measurements cover the whole of a time, as they don't after a start."""
    return samples[0][0] <= now - span * 0.9
