"""Frozen values that travel as JSON, and what is refused on the way in."""

from __future__ import annotations

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet import worker_protocol
from celeryfleet.protocol import LastExit, Scale, WorkerStatus
from celeryfleet.records import Lines, encode, parse, public, receive_with_fds, send_with_fds
from celeryfleet.worker_protocol import Beat, Hello, Said

DEAD = WorkerStatus(
    "web-1", "web-1@shop", None, "backoff", last_exit=LastExit(-9, "SIGKILL", 1.5, "x", ("é",)), cause="c"
)


def test_a_record_is_frozen_and_equal_to_its_like_only() -> None:
    beat = Beat(1, queues=("mail",))
    assert beat == Beat(active=1, queues=("mail",))
    assert hash(beat) == hash(Beat(active=1, queues=("mail",)))
    assert beat != beat.but(poke=1)
    assert beat != Hello(1)
    assert repr(Hello(1)) == "Hello(pid=1)"
    with pytest.raises(AttributeError, match="Beat is frozen"):
        beat.active = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="Hello has the fields pid"):
        Hello(1, 2)  # type: ignore[call-arg]


@pytest.mark.parametrize("message", [Beat(2, consuming=True, queues=("mail",)), Scale({"web": 3}), DEAD])
def test_what_is_written_is_read_again(message: object) -> None:
    assert parse(type(message), encode(message)) == message  # type: ignore[arg-type]


def test_what_is_shown_leaves_out_what_is_hidden_in_parts_too() -> None:
    shown = public(DEAD)
    assert "cause" not in shown
    assert shown["last_exit"] == {"code": -9, "signal": "SIGKILL", "at": 1.5, "reason": "x", "log": ["é"]}
    assert list(shown)[:4] == ["name", "node", "pid", "state"]


def test_a_message_cut_anywhere_is_read_whole_and_what_came_before_a_bad_one_too() -> None:
    data = encode(Hello(1)) + encode(Beat(1)) + b"\n" + encode(Hello(2))
    for cut in range(len(data)):
        lines = Lines(Said)
        assert [*lines.feed(data[:cut]), *lines.feed(data[cut:])] == [Hello(1), Beat(1), Hello(2)]
    heard = Lines(Said).feed(encode(Hello(1)) + b'{"t":"nope"}\n')
    assert next(heard) == Hello(1)
    with pytest.raises(ValueError, match="there is no message 'nope'"):
        next(heard)


def test_a_message_without_an_end_is_not_kept_for_ever() -> None:
    lines = Lines(Said, limit=1000)
    assert list(lines.feed(b"x" * 1000)) == []
    with pytest.raises(ValueError, match="too long"):
        list(lines.feed(b"x"))


JSON = st.sampled_from([None, True, 0, -1, 10**30, 1.5, 1e400, "", "x", [], ["x"], [1], [["x"]], {}, {"x": 1}])
FIELDS = sorted({name for kind in Said.__args__ for name in kind.fields})


@given(st.sampled_from(Said.__args__), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=9))
def test_whatever_a_worker_says_is_refused_or_of_its_types(kind: type, fields: dict[str, object]) -> None:
    try:
        found = parse(Said, json.dumps({"t": kind.__name__.lower(), **fields}).encode())
    except ValueError:
        return
    assert isinstance(found, kind)
    for name, value in vars(found).items():
        wanted = str(kind.__annotations__[name])
        if "tuple" in wanted:
            assert isinstance(value, tuple)
            assert all(isinstance(item, str) for item in value)
        elif kind.__annotations__[name] in (bool, str):
            assert type(value) is kind.__annotations__[name]
        else:
            assert (value is None and name == "poke") or (type(value) is int and abs(value) < 2**63)


def test_descriptors_go_beside_a_message_of_any_size() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    with ours, theirs:
        send_with_fds(ours, worker_protocol.Revoked(("x" * 1000,) * 1000), [write])
        message, fds = receive_with_fds(theirs, Said)
        assert len(message.ids) == 1000
        os.write(fds[0], b"through")
        assert os.read(read, 10) == b"through"
        assert not os.get_inheritable(fds[0])
        for fd in (read, write, *fds):
            os.close(fd)
        ours.close()
        assert receive_with_fds(theirs, Said) == (None, [])
