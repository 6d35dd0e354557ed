"""Messages that wait, as a table."""

from __future__ import annotations

from celeryfleet.client.messages import Message
from celeryfleet.render.messages import peek_lines


def test_a_large_argument_fills_no_screen_and_no_pipe() -> None:
    """One of 200,000 letters was written whole, and every other line padded to its width."""
    large = Message("1", "shop.a", ["x" * 200_000], {}, sent_at=None, priority=None)
    lines = [*peek_lines([large, Message("2", "shop.b", [], {}, sent_at=None, priority=None)], 0.0, False, 1_000_000)]
    assert max(map(len, lines)) < 300
    assert lines[1].startswith("shop.a('xxx")
