from __future__ import annotations

from celeryfleet.client.expression import Names, parse
from celeryfleet.client.outcome import Record
from celeryfleet.client.signatures import leaves
from celeryfleet.render.canvas import draw
from celeryfleet.text import written

NAMES = Names(["shop.add", "shop.mul", "shop.xsum", "shop.sub", "stock.sub"])


def picture(text: str) -> list[str]:
    return draw(parse(text, NAMES).step).splitlines()


def test_a_chain_shows_where_the_result_of_the_step_before_goes() -> None:
    assert picture("add.s(4, 4) | mul.s(8) | add.si(1, y='a')") == [
        "chain",
        "├─ add(4, 4)",
        "├▶ mul(…, 8)",
        '└▶ add(1, y="a")',
    ]


def test_a_chord_shows_its_header_and_its_body_and_counts_what_it_leaves_out() -> None:
    assert picture("chord((add.s(i, i) for i in range(10)), xsum.s())") == [
        "chord",
        "├─ group of 10",
        "│  ├─ add(0, 0)",
        "│  ├─ add(1, 1)",
        "│  ├─ add(2, 2)",
        "│  ├─ … 6 more",
        "│  └─ add(9, 9)",
        "└▶ xsum(…)",
    ]


def test_a_group_one_longer_than_what_is_shown_is_drawn_whole() -> None:
    assert "more" not in "".join(picture("group(add.s(i, i) for i in range(5))"))
    assert len(picture("group(add.s(i, i) for i in range(5))")) == 6


def test_steps_within_steps_hang_below_each_other() -> None:
    assert picture("group(chain(add.s(1, 1), group(mul.s(2), mul.s(3))), xsum.map([[1]]).set(queue='low'))") == [
        "group of 2",
        "├─ chain",
        "│  ├─ add(1, 1)",
        "│  └▶ group of 2",
        "│     ├─ mul(…, 2)",
        "│     └─ mul(…, 3)",
        "└─ xsum.map(1 item) → low",
    ]


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    assert picture("shop.sub.s(1, 1) | stock.sub.s(2)") == ["chain", "├─ shop.sub(1, 1)", "└▶ stock.sub(…, 2)"]


def test_a_long_chain_and_a_long_argument_are_cut() -> None:
    lines = picture(" | ".join(["add.s(1, 1)"] * 40))
    assert len(lines) == 14
    assert lines[-2:] == ["├▶ … 28 more", "└▶ add(…, 1, 1)"]
    assert len(picture(f"add.s('{'a' * 500}')")[0]) < 40


def test_each_task_is_marked_with_what_became_of_it() -> None:
    step = parse("add.s(1, 1) | mul.s(2) | shop.sub.s(3)", NAMES).step
    for number, leaf in enumerate(leaves(step)):
        leaf.set(task_id=str(number))
    records = {"0": Record("SUCCESS", 2), "1": Record("FAILURE", None, "ValueError")}
    assert draw(step, records).splitlines() == ["chain", "├─ ✓ add(1, 1)", "├▶ ✗ mul(…, 2)", "└▶ · sub(…, 3)"]
    assert "\x1b[31m✗" in written(draw(step, records, colour=True))


def test_a_group_with_something_after_it_is_the_chord_that_celery_makes_of_it() -> None:
    assert picture("group(add.s(1, 1), add.s(2, 2)) | xsum.s()") == picture(
        "chord([add.s(1, 1), add.s(2, 2)], xsum.s())"
    )
