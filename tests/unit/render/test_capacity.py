"""What `plan` says, as a whole text."""

from __future__ import annotations

import json
from dataclasses import replace

from celeryfleet.plan.values import AutoscalePolicy
from celeryfleet.render.capacity import Outlook, Report, document, lines, svg
from celeryfleet.simulate.forecast import Forecast, Known, Traffic
from celeryfleet.simulate.search import Search, Target
from tests.unit.supervise.histories import plan, pool

WEB = pool("web", queues=("high", "low"), replicas=2)
PLAN = plan(WEB, pool("mail", concurrency=2, autoscale=AutoscalePolicy(1, 6)))
NOW = Outlook(
    PLAN,
    [
        Forecast(Traffic("high", 2.0, (0.05,)), 1.0, (0.0,) * 50 + (0.1,) * 51, 0.0, 0.0),
        Forecast(Traffic("low", 0.5, (4.0,), backlog=1200), 1.2, (), 0.125),
        Forecast(Traffic("mail", 10.0, (0.1,), priority=0), 0.93, (1.0,) * 101, 0.0, 0.0),
        Forecast(Traffic("mail", 0.01, (0.1,), priority=9), 0.93, (0.1,) * 101, 0.0, 0.0),
    ],
)
TURNS = Outlook(PLAN, [replace(NOW.forecasts[0], waits=(2.0,) * 101), replace(NOW.forecasts[1], waits=(30.0,) * 101)])
REPORT = Report(
    now=NOW,
    searches=[
        Search(Target("low", 95, 60.0), WEB, 3, {2: None, 3: 12.0, 4: 1.0}),
        Search(Target("mail"), PLAN.pools[1], 1, {1: 1.0}),
    ],
    turns=TURNS,
    what_if={"web": 4},
    otherwise=Outlook(PLAN.scaled({"web": 4}), [replace(NOW.forecasts[1], waits=(1.0,) * 101, gone=700.0, load=0.5)]),
    known=Known(span=1800.0, busiest={"mail": 31.5, "high": 2.1}),
    processors=2,
    memory=8_000_000_000,
    worker=80_000_000,
)


def test_the_table_the_sentences_and_the_chart() -> None:
    assert (
        "\n".join(lines(REPORT, False, 110))
        == """\
QUEUE          COME     RUN   LOAD   WAIT P50   WAIT P95   BACKLOG   GONE IN   WORKERS
high            2/s    50ms   1.00      100ms      100ms         0         -     2 × 1
low            30/m      4s   1.20      grows      grows     1,200     never     2 × 1
mail           10/s   100ms   0.93         1s         1s         0         -   1-6 × 2
  priority 9   36/h   100ms   0.93      100ms      100ms
  priority 0   10/s   100ms   0.93         1s         1s
with web=4
low            30/m      4s   0.50         1s         1s     1,200    11m40s     4 × 1

• low: 1 worker more of web will keep p95 under 1m00s (3 × 1 in all, p95 12s); now it grows by 7.5/m.
• mail: 5 workers fewer of mail will keep up (1 × 2 in all, p95 1s); now p95 is 1s.
• low is read last by web: p95 grows. With `order: round_robin` 30s, and high 2s rather than 100ms.
• mail: 10/s is the mean of 30m00s; in the busiest minute 31.5/s came. Plan for it: --rate mail=31.5/s
• This machine has 2 processors for 5 tasks at a time, which is too few for tasks that compute; its 8 GB hold
  about 100 workers of 80 MB.

low: wait p95 by workers of web
     2  ████████████████████████████████████████ grows  ◀ now
     3  ████████ 12s  ◀ enough
     4  █ 1s

mail: wait p95 by workers of mail
     1  ████████████████████████████████████████ 1s  ◀ now and enough"""
    )


def test_the_document_has_a_queue_each_and_the_svg_all_of_it() -> None:
    found = json.loads(json.dumps(document(REPORT)))
    assert found["queues"][1] == {
        "name": "low",
        "rate_per_s": 0.5,
        "runtime_s": 4.0,
        "load": 1.2,
        "wait_p50_s": None,
        "wait_p95_s": None,
        "backlog": 1200,
        "drained_in_s": None,
        "pool": "web",
        "replicas": 3,
        "concurrency": 1,
    }
    assert found["targets"][0] == {
        "queue": "low",
        "percent": 95,
        "under_s": 60.0,
        "pool": "web",
        "replicas": 3,
        "wait_s": 12.0,
    }
    assert [queue["replicas"] for queue in found["what_if"]["queues"]] == [4]
    drawn = svg(REPORT)
    assert "1 worker more of web will keep p95 under 1m00s" in drawn
    assert "\x1b" not in drawn


def test_of_several_targets_of_a_queue_the_hardest_is_what_it_needs() -> None:
    """The last one was told, were it met by fewer."""
    hard, easy = REPORT.searches[0], Search(Target("low", 50, 60.0), WEB, 2, {2: 1.0})
    for searches, needed in (((hard, easy), 3), ((replace(hard, needed=None), easy), None)):
        assert document(replace(REPORT, searches=searches))["queues"][1]["replicas"] == needed


def test_what_a_target_needs_is_held_against_the_memory() -> None:
    *_, text = (line for line in lines(replace(REPORT, memory=250_000_000), False, 160) if "This machine" in line)
    assert "for 5 tasks at a time" in text
    assert text.endswith("its 250 MB hold about 3 workers of 80 MB: too few for 4.")
