"""How a fleet on several hosts is shown, by the reports that there are."""

from __future__ import annotations

from celeryfleet.cli.insight import on_host as document
from celeryfleet.hosts.messages import HostStatus, Report
from celeryfleet.hosts.seen import as_one, seen, troubles
from celeryfleet.protocol import (
    AlertStatus,
    Backlog,
    BrokerStatus,
    PoolStatus,
    QueueStatus,
    Status,
    SupervisorStatus,
    WorkerStatus,
)
from celeryfleet.records import public


def status(host: str, pool: str, state: str = "ready") -> Status:
    worker = WorkerStatus(f"{pool}-1", f"{pool}-1@shop.{host}", 7, state)
    return Status(
        "shop",
        state,
        SupervisorStatus(1, 2.0),
        BrokerStatus("redis://shop"),
        (PoolStatus(pool, ("mail",), 1, int(state == "ready"), (worker,), "prefork", 1),),
        (QueueStatus("mail", consumers=1),),
        "",
        (),
        (),
        Backlog("", unacked={f"unacked:{worker.node}": ("mail",)}),
        host=host,
    )


def report(host: str, pool: str, state: str = "ready") -> Report:
    return Report("owner", f"machine:/srv/{host}", 0.0, status(host, pool, state))


def test_hosts_are_reporting_silent_or_missing_in_the_order_of_fleet_yaml() -> None:
    reports = {"b": (report("b", "video"), 2.04), "a": (report("a", "web"), 99.0), "z": (report("z", "web"), 1.0)}
    found = seen(["c", "b", "a"], reports, status("here", "web"))
    assert [(host.name, host.state, host.age_s, host.here) for host in found] == [
        ("c", "missing", None, False),
        ("b", "reporting", 2.0, False),
        ("a", "silent", 99.0, False),
        ("z", "reporting", 1.0, False),
        ("here", "reporting", 0.0, True),
    ]
    assert troubles(found) == [
        "Host a is silent: its latest report is 1m39s old. It died, or lost the broker.",
        "Of c there is no report: the host is not up, or cannot reach the broker.",
    ]


def test_where_the_broker_does_not_answer_other_hosts_are_unknown_and_nothing_is_held_against_them() -> None:
    found = seen(["a", "b"], {}, status("a", "web"), "unknown")
    assert [(host.name, host.state) for host in found] == [("a", "reporting"), ("b", "unknown")]
    assert troubles(found) == []


def test_what_a_supervisor_says_itself_goes_before_its_report() -> None:
    (host,) = seen(["a"], {"a": (report("a", "web", "degraded"), 2.0)}, status("a", "web"))
    assert (host.here, host.age_s, host.status) == (True, 0.0, status("a", "web"))


def test_the_whole_fleet_names_workers_with_their_hosts() -> None:
    here = status("a", "web")
    hosts = seen(["a", "b"], {"b": (report("b", "web"), 2.0)}, here)
    whole = as_one(here, hosts)
    assert [worker.name for pool in whole.pools for worker in pool.workers] == ["web-1", "web-1@b"]
    assert [pool.name for pool in as_one(here, hosts, everywhere=True).pools] == ["web@a", "web@b"]
    assert whole.queues[0].consumers == 2
    assert sorted(whole.backlog.unacked) == ["unacked:web-1@shop.a", "unacked:web-1@shop.b"]
    assert (whole.state, whole.reason, whole.notes) == ("ready", "", ())


def test_what_is_wrong_on_other_hosts_is_said_with_their_names_and_what_all_say_once() -> None:
    """Of the alerts of other hosts nothing was told."""
    here = status("a", "web").but(notes=("Paused queues: mail.",))
    there = status("b", "web").but(notes=("Paused queues: mail.", "Alerts: worker web-1 is failed."))
    hosts = seen(["a", "b"], {"b": (report("b", "web").but(status=there), 2.0)}, here)
    assert as_one(here, hosts).notes == ("Paused queues: mail.", "Host b: Alerts: worker web-1 is failed.")
    silent = seen(["a", "b"], {"b": (report("b", "web").but(status=there), 99.0)}, here)
    assert len(as_one(here, silent).notes) == 2  # that one, and that it is silent


def test_the_json_of_all_hosts_has_the_alerts_of_each() -> None:
    on = AlertStatus("worker_failed", "worker web-1", "worker web-1 is failed", "2026-11-26T09:29:01+00:00")
    found = document(HostStatus("b", "reporting", 2.0, status=status("b", "web").but(alerts=(on,))))
    assert (found["name"], found["state"], found["alerts"]) == ("b", "ready", [public(on)])
    assert "alerts" not in document(HostStatus("b", "reporting", 2.0, status=status("b", "web")))


def test_workers_of_a_silent_host_count_as_stopped_and_read_nothing() -> None:
    here = status("a", "web")
    whole = as_one(here, seen(["a", "b"], {"b": (report("b", "video"), 60.0)}, here))
    (worker,) = whole.pools[1].workers
    assert (worker.name, worker.state, worker.cause, worker.pid) == ("video-1@b", "stopped", "host b is silent", None)
    assert (whole.pools[1].ready, whole.pools[1].want, whole.queues[0].consumers) == (0, 1, 1)
    assert whole.state == "degraded"
    assert whole.reason == whole.notes[0]


def test_a_fleet_is_as_its_worst_hosts_are() -> None:
    here = status("a", "web", "starting")
    assert as_one(here, seen([], {"b": (report("b", "web", "starting"), 1.0)}, here)).state == "starting"
    assert as_one(here, seen([], {"b": (report("b", "web", "stopping"), 1.0)}, here)).state == "degraded"
    assert as_one(here, seen(["a", "b"], {}, None)).state == "down"  # it was said to be degraded
