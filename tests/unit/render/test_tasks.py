"""The list of tasks, wide and narrow."""

from __future__ import annotations

from celeryfleet.client.inspect import TaskInfo
from celeryfleet.render.tasks import task_lines

FOUND = (
    TaskInfo("shop.add", "add", ("plus",), "(a, b)", "Add two numbers."),
    TaskInfo("shop.pictures.encode", "encode", (), "(path, quality=3)", "Make a picture smaller, and say by how much."),
    TaskInfo("shop.lost", "lost", (), "()", ""),
)
QUEUES = {"shop.add": ["default"], "shop.pictures.encode": ["video"], "shop.lost": []}


def drawn(width: int) -> str:
    return "\n".join(task_lines(FOUND, QUEUES, False, width)) + "\n"


def test_a_pipe_gets_a_line_for_each_task() -> None:
    assert (
        drawn(0)
        == """\
TASK                     QUEUE    NAME                  SUMMARY
plus(a, b)               default  shop.add              Add two numbers.
encode(path, quality=3)  video    shop.pictures.encode  Make a picture smaller, and say by how much.
lost()                   nowhere  shop.lost
"""
    )


def test_a_narrower_terminal_has_what_they_do_below() -> None:
    assert (
        drawn(60)
        == """\
TASK                     QUEUE    NAME
plus(a, b)               default  shop.add
    Add two numbers.
encode(path, quality=3)  video    shop.pictures.encode
    Make a picture smaller, and say by how much.
lost()                   nowhere  shop.lost
"""
    )


def test_in_a_narrow_one_no_name_is_cut_and_words_are_wrapped() -> None:
    assert (
        drawn(40)
        == """\
TASK    QUEUE
plus    default
    shop.add(a, b)
    Add two numbers.
encode  video
    shop.pictures.encode(path,
    quality=3)
    Make a picture smaller, and say by
    how much.
lost    nowhere
    shop.lost()
"""
    )
