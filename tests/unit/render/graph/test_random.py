"""Random fleets: every format is well-formed and whole, and lines lead where `resolve` says that tasks go."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.plan.build import build
from celeryfleet.render.graph.dot import dot
from celeryfleet.render.graph.drawing import as_text, draw
from celeryfleet.render.graph.mermaid import mermaid
from celeryfleet.render.graph.survey import survey
from celeryfleet.render.graph.svg import svg
from celeryfleet.render.graph.topology import EdgeKind, SourceKind, Topology
from celeryfleet.routing.resolve import resolve
from tests.unit.plan.fleets import FACTS, fleet_of
from tests.unit.render.graph.test_formats import dot_parts, mermaid_parts, svg_lines

pytestmark = pytest.mark.slow

EXCHANGES = {"t": "topic", "d": "direct", "f": "fanout"}
KEYS = ("a", "a.b", "b", "c.a")
BINDINGS = ("a", "a.*", "#", "*.b", "b")

exchanges = st.sampled_from(sorted(EXCHANGES)).map(lambda name: {"name": name, "type": EXCHANGES[name]})
queues: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from([{"max_age": "30s"}, {"max_length": 10}]),
    st.fixed_dictionaries({"exchange": exchanges, "routing_key": st.sampled_from(BINDINGS)}),
)
dying = st.sampled_from(["q0", "t", "nobody", ""]).map(lambda name: {"arguments": {"x-dead-letter-exchange": name}})


@st.composite
def fleets(draw: st.DrawFn, dead_letters: bool = False) -> str:
    """Write a fleet.yaml."""
    kinds = st.one_of(queues, dying) if dead_letters else queues
    names = [f"q{number}" for number in range(draw(st.integers(1, 7)))]
    declared = {name: draw(kinds) for name in names}
    used = sorted({queue["exchange"]["name"] for queue in declared.values() if "exchange" in queue})
    targets: list[st.SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries({"queue": st.sampled_from(names)}, optional={"priority": st.integers(0, 9)})
    ]
    if used:
        targets.append(st.fixed_dictionaries({"exchange": st.sampled_from(used), "routing_key": st.sampled_from(KEYS)}))
    patterns = [
        st.integers(0, 5).map(lambda number: {"task": f"task{number}"}),
        st.integers(0, 5).map(lambda number: {"task": f"glob{number}.*"}),
    ]
    routes = st.one_of(
        st.builds(lambda pattern, target: {**pattern, **target}, st.one_of(patterns), st.one_of(targets)),
        st.sampled_from([{"router": "shop.Router"}, {"router": "celeryfleet.routers.namespace"}]),
    )
    pool = st.fixed_dictionaries(
        {"queues": st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)},
        optional={"order": st.just("round_robin"), "profiles": st.just(["full"]), "replicas": st.integers(0, 3)},
    )
    beat = st.fixed_dictionaries({"task": st.sampled_from(["task0", "glob1.x", "q1:x"]), "every": st.just("1m")})
    whole: dict[str, Any] = {
        "name": "shop",
        "app": "shop:app",
        "broker": draw(st.sampled_from(["redis://localhost", "amqp://localhost"])),
        "queues": declared,
        "default_queue": draw(st.sampled_from(names)),
        "routes": draw(st.lists(routes, max_size=7)),
        "pools": {f"pool{number}": draw(pool) for number in range(draw(st.integers(0, 6)))},
    }
    if draw(st.booleans()):
        whole["beat"] = {"schedule": {"tick": draw(beat)}}
    return json.dumps(whole)


def surveyed(text: str) -> Topology:
    fleet = fleet_of(text)
    return survey(fleet, build(fleet, FACTS))


def drawn_lines(text: str) -> list[str]:
    """Draw without a limit, and return the part between the titles and the legend."""
    return as_text(draw(surveyed(text))).split("\n\n", 1)[1].splitlines()


# --- Following lines --------------------------------------------------------------------------------------

LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
ARMS = {
    **dict.fromkeys("─╌0123456789", (LEFT, RIGHT)),
    **dict.fromkeys("│┆", (UP, DOWN)),
    "┐": (LEFT, DOWN),
    "┘": (LEFT, UP),
    "┌": (RIGHT, DOWN),
    "└": (RIGHT, UP),
    "┬": (LEFT, RIGHT, DOWN),
    "┴": (LEFT, RIGHT, UP),
    "┤": (LEFT, UP, DOWN),
    "├": (RIGHT, UP, DOWN),
    "┼": (LEFT, RIGHT, UP, DOWN),
}


def follow(lines: list[str], x: int, y: int, way: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Go along a line as a reader does; yield where its arrows are. Where lines cross, the eye goes straight on."""
    x, y = x + way[0], y + way[1]
    char = lines[y][x] if 0 <= y < len(lines) and 0 <= x < len(lines[y]) else " "
    if char == "▶":
        yield x, y
        return
    if char == " " and way == RIGHT and (key := re.match(r" \S+ (?=[─╌])", lines[y][x:])):
        yield from follow(lines, x + key.end() - 1, y, way)  # a key stands on the line
        return
    back = (-way[0], -way[1])
    arms = ARMS.get(char, ())
    if way in (LEFT, RIGHT) and char in "│┆":
        yield from follow(lines, x, y, way)
    elif way != LEFT and arms:
        assert back in arms, f"a line breaks off at column {x} of: {lines[y]}"
        for arm in arms:
            if arm != back:
                yield from follow(lines, x, y, arm)


def readers(lines: list[str], queue: str) -> list[str]:
    """Follow the line out of a queue to the pools at its ends."""
    rows = [
        (y, at + len(queue) + (2 if line[at + len(queue) :].startswith(" ★") else 0))
        for y, line in enumerate(lines)
        if (at := f"{line} ".find(f" {queue} ")) >= 0 and not line.strip().startswith("dead letters") and (at := at + 1)
    ]
    assert len(rows) == 1, rows
    y, end = rows[0]
    if not lines[y][end + 1 : end + 2].strip():
        return []
    return [_pool(lines, x, row) for x, row in follow(lines, end, y, RIGHT)]


def _pool(lines: list[str], x: int, y: int) -> str:
    """Return the name at an arrow, or at the top of the bracket that it leads to."""
    while lines[y][x + 2 : x + 3] in ("│", "└"):
        y -= 1
    return lines[y][x + 1 :].lstrip(" ┌").split(" ")[0]


@given(fleets())
def test_the_line_out_of_a_queue_leads_to_the_pools_that_read_it(text: str) -> None:
    found = surveyed(text)
    lines = drawn_lines(text)
    for queue in found.queues:
        assert Counter(readers(lines, queue.name)) == Counter([*queue.pools, *queue.idle_pools]), "\n".join(lines)


@given(fleets())
def test_the_line_out_of_a_route_leads_to_its_queue_or_exchange(text: str) -> None:
    found = surveyed(text)
    lines = drawn_lines(text)
    for source in found.sources:
        targets = [edge.target.partition(":")[2] for edge in found.edges if edge.source == source.id]
        if source.kind is not SourceKind.ROUTE or len(targets) != 1:
            continue
        ends = set()
        for y, line in enumerate(lines):
            at = line.find(f" {source.text} ")
            if at >= 0:
                start = line.find(" ─", at)
                ends |= {lines[row][x + 2 :].lstrip("◇ ").split(" ")[0] for x, row in follow(lines, start, y, RIGHT)}
        assert targets[0] in ends, "\n".join(lines)


# --- Every format -----------------------------------------------------------------------------------------


@given(fleets(dead_letters=True))
def test_every_format_is_well_formed_and_whole(text: str) -> None:
    found = surveyed(text)
    queues, pools = [queue.name for queue in found.queues], [pool.name for pool in found.pools]
    nodes, edges = mermaid_parts(mermaid(found))
    heads = Counter(lines[0].removesuffix(" (default)") for key, lines in nodes.items() if key[0] in "qp")
    assert heads == Counter([*queues, *pools])
    assert len(edges) == len(found.edges)
    assert {name for edge in edges for name in edge} <= set(nodes)
    named, pairs = dot_parts(dot(found))
    assert {name for name in named if name.startswith(("queue:", "pool:"))} == {
        *(f"queue:{name}" for name in queues),
        *(f"pool:{name}" for name in pools),
    }
    assert Counter(pairs) == Counter((edge.source, edge.target) for edge in found.edges)
    assert {name for pair in pairs for name in pair} <= set(named)
    assert svg_lines(svg(found)) == as_text(draw(found)).splitlines()


@given(fleets(), st.sampled_from([0, 30, 60, 80, 120]))
def test_the_terminal_shows_every_queue_and_pool_once(text: str, width: int) -> None:
    found = surveyed(text)
    shown = as_text(draw(found, width))
    words = Counter(word for line in shown.splitlines() for word in line.split())
    outline = "\nQUEUES\n" in shown
    for queue in found.queues:
        read = sum(queue.name in pool.queues for pool in found.pools)
        assert words[queue.name] == 1 + (read if outline else 0), shown
    for pool in found.pools:
        assert words[pool.name] == 1, shown


# --- What resolve says ------------------------------------------------------------------------------------


@given(fleets(dead_letters=True))
def test_lines_lead_to_the_queues_that_resolve_names(text: str) -> None:
    fleet = fleet_of(text)
    plan = build(fleet, FACTS)
    found = survey(fleet, plan)
    after: dict[str, set[str]] = {}
    for edge in found.edges_of(EdgeKind.SENDS, EdgeKind.MAY_SEND, EdgeKind.BINDS):
        after.setdefault(edge.source, set()).add(edge.target)
    seen: set[str] = set()
    for number, route in enumerate(fleet.routes, 1):
        name = (route.task or "").replace("*", "x")
        if not name or name in seen or any(other.task == route.task for other in fleet.routes[: number - 1]):
            continue
        seen.add(name)
        decision = resolve(fleet, plan.routing, name)
        source = next(node for node in found.sources if node.id == f"route:{number}")
        assert source.queues == decision.queues
        assert source.lost == (not decision.queues)
        direct = after.get(source.id, set())
        reached = direct | {end for middle in direct for end in after.get(middle, set())}
        assert {f"queue:{queue}" for queue in decision.queues} <= reached
        if not any(middle.startswith("exchange:") for middle in direct):
            assert {f"queue:{queue}" for queue in decision.queues} == reached
    for pool in found.pools:
        ends = [edge.source for edge in found.edges if edge.target == pool.id]
        assert ends == [f"queue:{queue}" for queue in pool.queues]
