"""`import` of what `export` wrote gives the same fleet back: random fleets, and their Plans compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from celeryfleet.app import apply
from celeryfleet.app.exported import read
from celeryfleet.app.told import asked
from celeryfleet.export.formats import Format, engine
from celeryfleet.export.service import SETTINGS, deployment
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.fleetfile.told import Told
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import convert_all
from celeryfleet.plan.build import build
from celeryfleet.plan.values import Plan
from tests.unit.export.fleets import FACTS

names = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,8}[a-z]", fullmatch=True).filter(lambda name: name != "beat")
#: what of a pool's `restart` an engine has
RESTART = {
    Format.COMPOSE: ("max_restarts",),
    Format.SUPERVISORD: ("max_restarts",),
    Format.SYSTEMD: ("backoff", "max_restarts", "window"),
}
queues = st.from_regex(r"[a-z][a-z0-9_.:-]{0,8}", fullmatch=True)
seconds = st.integers(1, 7200).map(lambda number: f"{number}s")
#: an importer takes a `$(`, a `${` and a backtick for a shell's or its own
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="`{(")
    | st.sampled_from(" $%'\"\\;#"),
    max_size=12,
)


def optional(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


def pools(declared: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    keys = optional(
        order=st.sampled_from(["strict", "round_robin"]),
        replicas=st.integers(1, 3),
        concurrency=st.integers(1, 8) | st.just("auto"),
        pool=st.sampled_from(["prefork", "threads", "gevent", "solo"]),
        prefetch_multiplier=st.integers(1, 10),
        max_tasks_per_child=st.integers(1, 1000),
        max_memory_per_child=st.integers(1, 4000).map(lambda number: f"{number}MiB"),
        time_limit=st.integers(100, 900).map(lambda number: f"{number}s"),
        soft_time_limit=st.integers(1, 99).map(lambda number: f"{number}s"),
        stop_grace_period=seconds,
        restart=st.builds(
            lambda count, backoff, window: {"max_restarts": count, "backoff": f"{backoff}s", "window": f"{window}s"},
            *(st.integers(0, 9), st.integers(1, 60), st.integers(1, 900)),
        ),
        events=st.just(True),
        log_level=st.sampled_from(["debug", "warning"]),
        env=st.dictionaries(
            st.sampled_from(["COLOR", "SIZE", "A_B"]), texts.map(lambda text: text.replace("$", "$$")), max_size=2
        ),
    )
    read = st.lists(st.sampled_from(declared), min_size=1, unique=True)
    return st.tuples(keys, read).map(lambda pair: {**pair[0], "queues": pair[1]})


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    declared = draw(st.lists(queues, min_size=1, max_size=4, unique=True))
    read = draw(st.dictionaries(names, pools(declared), min_size=1, max_size=3))
    route = st.sampled_from(declared).flatmap(
        lambda queue: optional(priority=st.integers(1, 9)).map(lambda more: {"task": "shop.*", "queue": queue, **more})
    )
    return {
        "name": draw(st.from_regex(r"[a-z0-9][a-zA-Z0-9_.-]{0,5}[a-z]", fullmatch=True)),
        "app": "shop.celery:app",
        "broker": "redis://redis:6379/0",
        "queues": dict.fromkeys(declared),
        "default_queue": draw(st.sampled_from(declared)),
        "routes": draw(st.lists(route, max_size=1)),
        "pools": read,
        **draw(optional(beat=st.just(True), django=st.just("shop.settings"), logs=st.just({"format": "json"}))),
    }


def fleet_of(text: str) -> Fleet:
    return parse(text, "/srv/shop/fleet.yaml", {})


def told_by(settings_file: str, plan: Plan) -> Told:
    """Ask an app that the loader has given these settings, as `import` does."""
    app = Celery("shop", set_as_current=False)
    apply(app, read({"CELERYFLEET_SETTINGS": settings_file}).settings)
    return asked(app, {})


def imported(kind: Format, texts: Mapping[str, str], told: Told) -> Fleet:
    wanted = {name: text for name, text in texts.items() if not name.endswith((".json", ".target"))}
    if kind is Format.SYSTEMD:  # each instance of a template is imported by its name
        units = next(text for name, text in texts.items() if name.endswith(".target"))
        instances = units.partition("Wants=")[2].partition("\n")[0].split()
        wanted = {name: texts[f"{name.partition('@')[0]}@.service"] for name in instances if "@" in name}
        wanted |= {name: texts[name] for name in instances if "@" not in name}
    file = next(iter(wanted))
    return fleet_of(convert_all(wanted, Ask(kind.value, file, told=told)).text)


def compared(plan: Plan, kind: Format) -> dict[str, Any]:
    """Return what of a plan is carried over."""
    whole = replace(plan, preload="", origins={}).to_json()
    pools = {pool["name"]: pool for pool in whole["pools"]}
    for pool in pools.values():
        pool["restart"] = {key: pool["restart"][key] for key in RESTART.get(kind, ())}
        lacks = [*(["grace"] if kind is Format.PROCFILE else []), *([] if kind in RESTART else ["park_after"])]
        for key in ("fork", "exec_reason", *lacks):
            del pool[key]
    queues = {queue["name"]: queue for queue in whole["queues"]}
    del whole["settings"]["task_queues"]  # which are written in the order of their readers
    beat = whole["beat"] and {key: value for key, value in whole["beat"].items() if key != "fork"}
    return {**whole, "pools": pools, "queues": queues, "beat": beat}


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.KEDA])
@settings(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(said=fleets())
def test_import_gives_the_same_fleet_back(
    kind: Format, said: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = fleet_of(json.dumps(said, ensure_ascii=False))
    plan = build(fleet, FACTS)
    files = engine(kind).files(deployment(fleet, FACTS, (), engine(kind), "/srv/shop/bin/celery"), "/srv/shop")
    path = tmp_path_factory.getbasetemp() / SETTINGS
    path.write_text(deployment(fleet, FACTS, (), engine(kind)).settings)
    back = build(imported(kind, files.texts, told_by(str(path), plan)), FACTS)
    assert compared(back, kind) == compared(plan, kind)
