"""The order of a column, rows and tracks: few lines cross, and none lies upon another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.render.graph.channel import Channel, Port, crossings, untangled


def test_lines_that_cross_are_untangled() -> None:
    ends = {"x": ["a", "c"], "y": ["b"]}
    assert crossings("abc", "xy", ends) == 1
    assert untangled("abc", ends) == ["a", "c", "b"]
    assert crossings("acb", "xy", ends) == 0


def test_the_written_order_stays_where_another_is_no_better() -> None:
    assert untangled("ba", {"y": ["b"], "x": ["a"]}) == ["b", "a"]
    assert untangled("ba", {"y": ["a", "b"], "x": ["a", "b"]}) == ["b", "a"]


def test_crossings_are_counted_once_each() -> None:
    assert crossings("abc", "xyz", {"x": ["c"], "y": ["b"], "z": ["a"]}) == 3
    assert crossings("ab", "x", {"x": ["a", "b"]}) == 0


names = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@given(names, st.data())
def test_an_order_holds_every_name_once(given: list[str], data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(given), unique=True)
    ends = {str(end): data.draw(some) for end in range(data.draw(st.integers(0, 6)))}
    assert sorted(untangled(given, ends)) == sorted(given)


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
