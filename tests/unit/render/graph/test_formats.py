"""Mermaid, DOT and SVG: well-formed whatever the names, and the same nodes and lines in each."""

from __future__ import annotations

import html
import re
from collections import Counter
from xml.etree import ElementTree

import pytest

from celeryfleet.render.graph.dot import dot, label, quote
from celeryfleet.render.graph.drawing import as_text, draw
from celeryfleet.render.graph.mermaid import escape, mermaid
from celeryfleet.render.graph.svg import svg
from celeryfleet.render.graph.topology import Topology
from celeryfleet.text import columns, visible
from tests import ROOT
from tests.unit.render.graph.shops import DEMO, NASTY, SHOP, demo_live, nasty, topology

SVG = "{http://www.w3.org/2000/svg}"

# --- Mermaid ----------------------------------------------------------------------------------------------

MERMAID = """\
---
title: "demo: 3 routes, 5 queues, 5 pools with 8 workers"
---
flowchart LR
  s1["tasks.datasource.#42;<br/>line 19"]:::source
  s2["tasks.datahandle.#42;<br/>line 20"]:::source
  s3["tasks.notification.#42;<br/>line 21"]:::source
  s4["any other task"]:::source
  q1[("datasource")]:::queue
  q2[("datahandling")]:::queue
  q3[("notification<br/>max_age 30s")]:::queue
  q4[("default #40;default#41;")]:::queue
  q5[("low")]:::queue
  p1(["notification<br/>3 × 1 prefork"]):::pool
  p2(["datasource<br/>1 × 1 prefork"]):::pool
  p3(["datahandling<br/>2 × 1 prefork"]):::pool
  p4(["default<br/>1 × 2 prefork"]):::pool
  p5(["low<br/>1 × 1 prefork"]):::pool
  s1 --> q1
  s2 --> q2
  s3 --> q3
  s4 --> q4
  q3 --> p1
  q1 --> p2
  q2 --> p3
  q4 --> p4
  q5 -->|"1"| p5
  q4 -->|"2"| p5
  classDef source fill:#eef2ff,stroke:#6366f1,color:#1e1b4b
  classDef exchange fill:#faf5ff,stroke:#a855f7,color:#3b0764
  classDef queue fill:#ecfeff,stroke:#0891b2,color:#083344
  classDef pool fill:#f8fafc,stroke:#64748b,color:#0f172a
  classDef well fill:#f0fdf4,stroke:#16a34a,color:#052e16
  classDef late fill:#fffbeb,stroke:#d97706,color:#451a03,stroke-width:2px
  classDef bad fill:#fef2f2,stroke:#dc2626,color:#450a0a,stroke-width:2px
  classDef idle stroke-dasharray:5 4
"""

_NODE = re.compile(
    r'  (?P<id>[sxqp]\d+)(?P<shape>\[\(|\(\[|\[|\{\{)"(?P<text>[^"]*)"(?:\)\]|\]\)|\]|\}\}):::(?P<class>\w+)'
)
_EDGE = re.compile(r'  (?P<start>[sxqp]\d+) (?:-->|-\.->)(?:\|"(?P<label>[^"]*)"\|)? (?P<end>[sxqp]\d+)')
_REST = re.compile(
    r'---|title: "[^"]*"|flowchart LR|  class p\d+ idle|  linkStyle \d+ stroke:#\w+|  classDef \w+ [\w:#,\- ]+'
)


def mermaid_parts(text: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Read a flowchart: the lines of text of each node by its id, and the edges. Fails on anything else."""
    nodes: dict[str, list[str]] = {}
    edges = []
    for line in text.splitlines():
        if node := _NODE.fullmatch(line):
            assert node["id"] not in nodes
            nodes[node["id"]] = [decoded(part) for part in node["text"].split("<br/>")]
        elif edge := _EDGE.fullmatch(line):
            edges.append((edge["start"], edge["end"]))
        else:
            assert _REST.fullmatch(line), line
    return nodes, edges


def decoded(text: str) -> str:
    """Read Mermaid's entity codes, which have to be all there is of # ; and the like."""
    assert re.fullmatch(r"(#\d+;|[^#;\"<>|\[\]{}()`*\\&])*", text), text
    return re.sub(r"#(\d+);", lambda code: chr(int(code[1])), text)


def test_the_demo_fleet_as_a_flowchart() -> None:
    assert mermaid(topology(DEMO)) == MERMAID


def test_a_flowchart_shows_what_runs() -> None:
    text = mermaid(demo_live())
    assert 'title: "demo (degraded): 3 routes, 5 queues, 5 pools, 6 of 8 workers ready"' in text
    for line in (
        '  q1[("datasource<br/>0 ready<br/>1 consumer")]:::well',
        '  q5[("low<br/>7 ready<br/>oldest 1h02m<br/>no consumer")]:::bad',
        '  p5(["low<br/>1 × 1 prefork<br/>0/1 ready"]):::bad',
    ):
        assert line in text.splitlines()


def test_a_flowchart_marks_what_is_lost_and_what_is_idle() -> None:
    found = mermaid(topology(SHOP)).splitlines()
    assert '  s5["shop.bill.#42;<br/>line 19<br/>sending fails#58; no queue is bound to that key"]:::bad' in found
    assert "  class p4 idle" in found
    assert '  s5 -->|"bill.paid"| x1' in found
    assert "  linkStyle 4 stroke:#dc2626" in found


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('a"b', "a#34;b"),
        ("a#quot;b", "a#35;quot#59;b"),
        ("x|y[z]", "x#124;y#91;z#93;"),
        ("<b>", "#60;b#62;"),
        ("shop.mail_box.*", "shop.mail_box.#42;"),
        ("_em_", "#95;em#95;"),
        ("1. list", "1#46; list"),
        ("a\nb", "a#92;nb"),
        ("日本語", "日本語"),
    ],
)
def test_what_mermaid_or_markdown_would_read_is_spelt_out(text: str, code: str) -> None:
    assert escape(text) == code


# --- DOT --------------------------------------------------------------------------------------------------

DOT = r"""
digraph "demo" {
  graph [rankdir=LR, ranksep=1.2, nodesep=0.25, labelloc=t]
  graph [label="demo: 3 routes, 5 queues, 5 pools with 8 workers"]
  graph [fontname="Helvetica,Arial,sans-serif"]
  node [fontname="Helvetica,Arial,sans-serif", fontsize=11]
  edge [fontname="Helvetica,Arial,sans-serif", fontsize=10, color="#64748b", arrowsize=0.7]
  {
    rank=same
    node [shape="box", style="filled,rounded", fillcolor="#eef2ff", color="#6366f1"]
    "route:1" [label="tasks.datasource.*\nline 19"]
    "route:2" [label="tasks.datahandle.*\nline 20"]
    "route:3" [label="tasks.notification.*\nline 21"]
    "default" [label="any other task"]
  }
  {
    rank=same
    node [shape="cylinder", style="filled", fillcolor="#ecfeff", color="#0891b2"]
    "queue:datasource" [label="datasource"]
    "queue:datahandling" [label="datahandling"]
    "queue:notification" [label="notification\nmax_age 30s"]
    "queue:default" [label="default (default)"]
    "queue:low" [label="low"]
  }
  {
    rank=same
    node [shape="box", style="filled,rounded", fillcolor="#f8fafc", color="#64748b"]
    "pool:notification" [label="notification\n3 × 1 prefork"]
    "pool:datasource" [label="datasource\n1 × 1 prefork"]
    "pool:datahandling" [label="datahandling\n2 × 1 prefork"]
    "pool:default" [label="default\n1 × 2 prefork"]
    "pool:low" [label="low\n1 × 1 prefork"]
  }
  "route:1" -> "queue:datasource"
  "route:2" -> "queue:datahandling"
  "route:3" -> "queue:notification"
  "default" -> "queue:default"
  "queue:notification" -> "pool:notification"
  "queue:datasource" -> "pool:datasource"
  "queue:datahandling" -> "pool:datahandling"
  "queue:default" -> "pool:default"
  "queue:low" -> "pool:low" [label="1"]
  "queue:default" -> "pool:low" [label="2"]
}
""".lstrip("\n")

_STRING = r'"(?:[^"\\]|\\.)*"'
_STATEMENT = re.compile(
    rf"digraph {_STRING} \{{|\}}|  \{{|  \}}|    rank=same"
    rf"|  (?:  )?(?:graph|node|edge) \[(?:\w+=(?:{_STRING}|[\w.]+)(?:, )?)+\]"
    rf"|    (?P<id>{_STRING}) \[label=(?P<label>{_STRING})(?:, \w+={_STRING})*\]"
    rf"|  (?P<start>{_STRING}) -> (?P<end>{_STRING})(?: \[(?:\w+=(?:{_STRING}|\w+)(?:, )?)+\])?"
)


def dot_parts(text: str) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Read a graph: the lines of each node's label by its id, and the edges. Fails on anything else."""
    nodes: dict[str, list[str]] = {}
    edges = []
    for line in text.splitlines():
        found = _STATEMENT.fullmatch(line)
        assert found, line
        if found["id"]:
            assert _string(found["id"]) not in nodes
            nodes[_string(found["id"])] = [html.unescape(part) for part in _string(found["label"], "\0").split("\0")]
        elif found["start"]:
            edges.append((_string(found["start"]), _string(found["end"])))
    return nodes, edges


def _string(text: str, newline: str = "n") -> str:
    return re.sub(r"\\(.)", lambda code: newline if code[1] == "n" else code[1], text[1:-1])


def test_the_demo_fleet_as_a_graph_for_graphviz() -> None:
    assert dot(topology(DEMO)) == DOT


def test_quotes_backslashes_and_entities_mean_nothing_in_dot() -> None:
    assert quote('a"b\\') == r'"a\"b\\"'
    assert label(["a\\N&amp;", 'b"']) == r'"a\\N&amp;amp;\nb\""'


def test_a_graph_for_graphviz_shows_what_runs() -> None:
    text = dot(demo_live())
    assert r'"queue:low" [label="low\n7 ready\noldest 1h02m\nno consumer", fillcolor="#fef2f2", color="#dc2626"' in text


# --- SVG --------------------------------------------------------------------------------------------------


def svg_lines(text: str) -> list[str]:
    """Read a drawing back: each text at its row and column. Fails where one lies upon another."""
    rows: dict[int, list[tuple[float, str]]] = {}
    for element in ElementTree.fromstring(text).iter(f"{SVG}text"):
        if element.get("clip-path") and (words := element.text):
            rows.setdefault(round((float(element.get("y", 0)) - 20) / 24.4), []).append(
                (float(element.get("x", 0)) / 12.2, words)
            )
    lines = [""] * (max(rows) + 1)
    for row, parts in rows.items():
        for place, words in sorted(parts):
            gap = round(place) - columns(lines[row])
            assert gap >= 0, lines[row]
            lines[row] += " " * gap + words
    return lines


def test_the_drawing_in_the_documents_is_what_the_command_draws() -> None:
    assert (ROOT / "docs" / "graph.svg").read_text("utf-8") == svg(topology(DEMO))


FLEETS = [topology(DEMO), demo_live(), topology(SHOP), topology(nasty())]


@pytest.mark.parametrize("found", FLEETS)
def test_an_svg_is_the_drawing_of_the_terminal(found: Topology) -> None:
    assert svg_lines(svg(found)) == as_text(draw(found)).splitlines()
    assert svg(found) == svg(found)


@pytest.mark.parametrize("found", FLEETS)
def test_an_svg_stands_alone_and_runs_nothing(found: Topology) -> None:
    text = svg(found)
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title desc"
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "style", "defs", "clipPath", "rect", "g", "text", "circle")
    }
    style = root.findtext(f"{SVG}style") or ""
    assert not re.search(r"url\(|@import|@font-face", style)
    assert all(link.startswith("#") for link in re.findall(r"url\(([^)]*)\)", text))
    keys = {key for element in root.iter() for key in element.attrib}
    assert not any(key.startswith("on") or key.endswith("href") for key in keys)


def test_an_svg_says_in_words_what_its_lines_show() -> None:
    found = ElementTree.fromstring(svg(topology(DEMO))).findtext(f"{SVG}desc") or ""
    assert found.startswith("demo: 3 routes, 5 queues, 5 pools with 8 workers. The pool notification reads")
    assert found.endswith("The pool low reads low, default.")


def test_an_svg_is_coloured_as_the_terminal_is() -> None:
    text = svg(demo_live())
    colours = dict(re.findall(r"[.](fleet-r\d+) \{ fill: (#\w+)", text))
    shown = {
        element.text: colours[element.get("class", "")]
        for element in ElementTree.fromstring(text).iter(f"{SVG}text")
        if element.get("clip-path")
    }
    green, amber, red = (shown[text] for text in ("datasource", "paused", "low"))
    assert len({green, amber, red}) == 3
    assert (shown["oldest 1m41s"], shown["no consumer"], shown["1/1 ready"]) == (amber, red, green)


def test_wide_characters_have_the_room_of_two_in_an_svg() -> None:
    found = ElementTree.fromstring(svg(topology(nasty())))
    wide = next(element for element in found.iter(f"{SVG}text") if element.text == "日本語")
    assert float(wide.get("textLength", 0)) == pytest.approx(6 * 12.2)


# --- All of them ------------------------------------------------------------------------------------------


def names(found: Topology) -> tuple[list[str], list[str]]:
    return [queue.name for queue in found.queues], [pool.name for pool in found.pools]


@pytest.mark.parametrize("text", [DEMO, SHOP, nasty()])
def test_every_format_has_every_queue_and_pool_once_and_every_line(text: str) -> None:
    found = topology(text)
    queues, pools = names(found)
    lines = Counter((edge.source, edge.target) for edge in found.edges)

    nodes, edges = mermaid_parts(mermaid(found))
    heads = {key: lines[0].removesuffix(" (default)") for key, lines in nodes.items()}
    assert [head for key, head in heads.items() if key.startswith("q")] == queues
    assert [head for key, head in heads.items() if key.startswith("p")] == pools
    assert len(edges) == len(found.edges)
    assert {name for edge in edges for name in edge} <= set(nodes)

    nodes, edges = dot_parts(dot(found))
    assert [name.removeprefix("queue:") for name in nodes if name.startswith("queue:")] == queues
    assert [name.removeprefix("pool:") for name in nodes if name.startswith("pool:")] == pools
    assert [nodes[f"queue:{name}"][0].removesuffix(" (default)") for name in queues] == queues
    assert Counter(edges) == lines


def test_nasty_names_are_told_as_they_are() -> None:
    assert [visible(name) for name in NASTY] == list(NASTY)


def test_the_documents_show_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "graph.md").read_text("utf-8")
    assert f"```text\n$ celeryfleet graph\n{as_text(draw(topology(DEMO), 80))}```" in text
    assert f"```mermaid\n{mermaid(topology(DEMO))}```" in text
