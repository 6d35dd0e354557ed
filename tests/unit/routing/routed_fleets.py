"""Random fleets, task names and calls, for the tests that hold `route` against Celery and the brokers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

#: names as people give them, and some that they should not
QUEUES = ("default", "mail", "vidéo", "a.b", "q*", "x[1]", "mail:in", "#")
EXCHANGES = {"events": "topic", "bulk": "direct", "news": "fanout", "by.head": "headers"}
ROUTERS = ("Router", "instance", "function", "CallableRouter")
_WORDS = ("a", "b", "ab", "mail", "vidéo", "x1", "")

#: few words, so that keys and bindings meet
keys = st.sampled_from(["a", "a", "b", "a.b", "b.a", "a.b.a", "a..b", "é.x-1", "."])
bindings = st.sampled_from(["a", "b", "a.#", "a.#", "#.a", "#", "*", "*.b", "a.*", "a.#.b", "*.*", "a.b", "é.x-1"])
names = st.lists(
    st.tuples(st.sampled_from([*_WORDS, "q*", "a.b", "[a]", "A"]), st.sampled_from([".", ":", ".", ""])),
    min_size=1,
    max_size=4,
).map(lambda parts: "".join(word + end for word, end in parts))
priorities = st.integers(0, 9)
#: values of every type that an exchange tells apart, alike as far as can be
values = st.sampled_from(["pdf", "pdf", "1", 1, 1.0, True, False, 0, "true", "", "é"])
headers = st.dictionaries(st.sampled_from(["kind", "kind", "size", "é x"]), values, min_size=1, max_size=3)
globs = st.lists(
    st.sampled_from(["a", "b", "mail", "é", ".", ":", "*", "?", "[ab]", "[!a]", "[", "]", "x1"]), min_size=1, max_size=5
).map("".join)
regexes = st.sampled_from(
    ["a", "a.*", "(a|ab)", "(?i)A.*", "[ab]+", r"mail\..+", ".*b", r"a|ab\.a", r"(?s).*:.*", "é?"]
)


@dataclass(frozen=True)
class Case:
    """A fleet, and what is sent in it."""

    #: of fleet.yaml: queues, routes, default_queue
    keys: dict[str, Any]
    #: (task, options of the call, options in the task's own code)
    sends: list[tuple[str, dict[str, Any], dict[str, Any]]]
    #: what the user's routers return, by the first letter of the task's name
    answers: dict[str, Any]

    def text(self, broker: str) -> str:
        """Write its fleet.yaml."""
        return json.dumps({"name": "shop", "app": "shop", "broker": broker, "pools": {}, **self.keys})


def cases(types: tuple[str, ...], prefix: str = "", sends: int = 10) -> st.SearchStrategy[Case]:
    """Make fleets whose exchanges are of these types; all names of queues and exchanges begin with `prefix`."""
    return st.composite(_case)(types, prefix, sends)


def _case(draw: st.DrawFn, types: tuple[str, ...], prefix: str, sends: int) -> Case:
    listed = draw(st.lists(st.sampled_from(QUEUES), min_size=2, max_size=5, unique=True))
    exchanges = [prefix + name for name, kind in EXCHANGES.items() if kind in types]
    queues = {prefix + name: draw(_queue(exchanges, prefix)) for name in listed}
    used = sorted({queue["exchange"]["name"] for queue in queues.values() if "exchange" in queue})
    targets = _targets(list(queues), used)
    routes = draw(st.lists(st.one_of(_routes(targets), _routers()), max_size=6))
    calls = _options(list(queues), used)
    named = st.one_of(names, names.map(lambda name: prefix + name), st.sampled_from([f"{q}:a" for q in queues]))
    headed = st.builds(lambda given, options: {**options, **given}, _headed(), calls)
    answers: st.SearchStrategy[Any] = st.none() | st.sampled_from(list(queues)) | targets | st.just({})
    return Case(
        {"queues": queues, "routes": routes, "default_queue": draw(st.sampled_from(list(queues)))},
        draw(st.lists(st.tuples(named.filter(bool), headed, calls), min_size=sends, max_size=sends)),
        draw(st.dictionaries(st.sampled_from("abmvx"), answers, max_size=3)),
    )


def _queue(exchanges: list[str], prefix: str) -> st.SearchStrategy[dict[str, Any]]:
    def spelt(name: str, binding: str) -> dict[str, Any]:
        return {"exchange": {"name": name, "type": EXCHANGES[name.removeprefix(prefix)]}, "routing_key": binding}

    def headed(name: str, wanted: dict[str, Any]) -> dict[str, Any]:
        return {"exchange": {"name": name, "type": "headers"}, **({"headers": wanted} if wanted else {})}

    bound = st.builds(spelt, st.sampled_from(exchanges), bindings)
    by_headers = [name for name in exchanges if EXCHANGES[name.removeprefix(prefix)] == "headers"]
    if by_headers:
        bound = st.one_of(bound, st.builds(headed, st.sampled_from(by_headers), _wanted()))
    ranked = st.sampled_from([{}, {}, {"max_priority": 9}])
    return st.builds(lambda queue, rank: {**queue, **rank}, st.one_of(st.just({}), bound, bound), ranked)


def _wanted() -> st.SearchStrategy[dict[str, Any]]:
    """Make what a queue wants of a message: some of the headers that are given, and of those that Celery gives."""
    celerys = st.sampled_from([{}, {}, {"lang": "py"}, {"task": "a"}, {"task": "mail:a"}, {"retries": 0}])
    match = st.sampled_from([{}, {"x-match": "all"}, {"x-match": "any"}, {"x-match": "any"}])
    whole = st.builds(lambda match, own, wanted: {**match, **own, **wanted}, match, celerys, headers)
    return st.one_of(st.just({}), whole, whole, whole)


def _headed() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(st.just({}), headers.map(lambda given: {"headers": given}))


def _targets(queues: list[str], exchanges: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    optional: Mapping[str, Any] = {"priority": priorities, "routing_key": keys}
    to_queue = st.fixed_dictionaries({"queue": st.sampled_from(queues)}, optional=optional)
    priority = st.fixed_dictionaries({"priority": priorities})
    if not exchanges:
        return st.one_of(to_queue, priority)
    to_exchange = st.fixed_dictionaries({"exchange": st.sampled_from(exchanges)}, optional=optional)
    return st.one_of(to_queue, to_exchange, to_exchange, priority)


def _routes(targets: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    written = st.one_of(globs, globs, names).filter(bool).map(lambda task: {"task": task})
    patterns = st.one_of(written, written, regexes.map(lambda regex: {"regex": regex}))
    return st.builds(lambda pattern, target, given: {**pattern, **target, **given}, patterns, targets, _headed())


def _routers() -> st.SearchStrategy[dict[str, Any]]:
    theirs = st.sampled_from([f"tests.unit.routing.answering.{name}" for name in ROUTERS])
    return st.one_of(st.just("celeryfleet.routers.namespace"), theirs).map(lambda path: {"router": path})


def _options(queues: list[str], exchanges: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    optional: dict[str, Any] = {
        "queue": st.sampled_from(queues),
        "priority": priorities,
        "routing_key": keys,
    }
    if exchanges:
        optional["exchange"] = st.sampled_from(exchanges)
    some = st.fixed_dictionaries({}, optional=optional)
    return st.one_of(st.just({}), some)
