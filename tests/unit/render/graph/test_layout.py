"""Layers, rows and tracks: few lines cross, and none lies upon another."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.render.graph.channel import Channel, Port
from celeryfleet.render.graph.layout import arrange, centres, crossings
from celeryfleet.render.graph.measure import columns, cut, middle, mono, sans


def test_lines_that_cross_are_disentangled() -> None:
    lines = [("a", "y"), ("b", "x"), ("x", "q"), ("y", "p")]
    layers = [["a", "b"], ["x", "y"], ["p", "q"]]
    assert crossings(layers, lines) == 2
    assert crossings(arrange(layers, lines), lines) == 0


def test_the_written_order_stays_where_another_is_no_better() -> None:
    layers = [["b", "a"], ["y", "x"]]
    assert arrange(layers, [("b", "y"), ("a", "x")]) == layers
    everything = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert arrange(layers, everything) == layers


def test_crossings_are_counted_once_each() -> None:
    assert crossings([["a", "b", "c"], ["x", "y", "z"]], [("a", "z"), ("b", "y"), ("c", "x")]) == 3
    assert crossings([["a", "b"], ["x"]], [("a", "x"), ("b", "x")]) == 0


def test_a_node_between_two_lies_in_their_middle() -> None:
    heights = dict.fromkeys(["a", "b", "x"], 10.0)
    found = centres([["a", "b"], ["x"]], [("a", "x"), ("b", "x")], heights, 6.0)
    assert found["b"] - found["a"] == 16.0
    assert found["x"] == (found["a"] + found["b"]) / 2


def test_lines_between_pairs_are_straight_though_the_nodes_are_of_different_sizes() -> None:
    heights = {"a": 10.0, "b": 10.0, "c": 10.0, "x": 40.0, "y": 20.0, "z": 60.0}
    found = centres([["a", "b", "c"], ["x", "y", "z"]], [("a", "x"), ("b", "y"), ("c", "z")], heights, 8.0)
    assert [found[name] for name in "abc"] == [found[name] for name in "xyz"]


nodes = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@given(st.lists(nodes, min_size=1, max_size=4), st.data())
def test_nodes_keep_their_order_and_their_distance(names: list[list[str]], data: st.DataObject) -> None:
    layers = [[f"{name}{at}" for name in layer] for at, layer in enumerate(names)]
    pairs = [(a, b) for left, right in pairwise(layers) for a in left for b in right]
    lines = data.draw(st.lists(st.sampled_from(pairs), max_size=12, unique=True)) if pairs else []
    order = arrange(layers, lines)
    assert [sorted(layer) for layer in order] == [sorted(layer) for layer in layers]
    assert crossings(order, lines) <= crossings(layers, lines)
    heights = {name: data.draw(st.sampled_from([8.0, 30.0, 60.0])) for layer in layers for name in layer}
    found = centres(order, lines, heights, 10.0)
    tops = {name: found[name] - heights[name] / 2 for name in found}
    assert abs(min(tops.values())) < 1e-6
    for layer in order:
        for one, other in pairwise(layer):
            assert tops[other] - (tops[one] + heights[one]) >= 10.0 - 1e-6


def test_a_net_whose_port_lies_where_another_leaves_has_its_track_to_the_right() -> None:
    channel = Channel()
    channel.leave("a", 0)
    channel.leave("b", 1)
    channel.enter(["a", "b"], 1)
    channel.nets["a"].ports.append(Port(1))
    channel.nets["b"].ports.append(Port(2))
    assert channel.settle() == 2
    assert channel.nets["b"].track < channel.nets["a"].track


def test_nets_that_would_have_to_be_left_of_each_other_get_other_rows() -> None:
    channel = Channel()
    channel.leave("a", 0)
    channel.leave("b", 1)
    assert channel.enter(["b", "a"], 0) == 1, "row 0 would need a left of b, and row 1 b left of a"


def test_nets_on_rows_of_their_own_share_a_track() -> None:
    channel = Channel()
    for name, row in (("a", 0), ("b", 4)):
        channel.leave(name, row)
        channel.enter([name], row + 2)
        channel.nets[name].ports.append(Port(row + 2))
    assert channel.settle() == 1


def test_wide_characters_take_two_columns() -> None:
    assert (columns("mail"), columns("図書館"), columns("e\u0301")) == (4, 6, 1)
    assert (cut("図書館", 5), cut("mail", 4), cut("mail", 3)) == ("図書…", "mail", "ma…")
    assert (middle("shop.video.encode", 9), middle("ab", 9), middle("shop.video", 3)) == ("shop…code", "ab", "sh…")


def test_a_text_s_width_grows_with_its_font_and_its_letters() -> None:
    assert sans("iiii", 10) < sans("aaaa", 10) < sans("MMMM", 10) < sans("図図図図", 10)
    assert sans("mail", 20) == 2 * sans("mail", 10)
    assert mono("iiii", 10) == mono("MMMM", 10)
