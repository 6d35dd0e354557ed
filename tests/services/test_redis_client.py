from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.redis_client import BrokerError, Replies, ReplyError, connect, encode, explain
from tests.servers import redis_server

if TYPE_CHECKING:
    from celeryfleet.redis_client import Reply

# --- The parser -------------------------------------------------------------------------------------------

_texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n"), max_size=20)
_leaves = st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=200) | st.builds(ReplyError, _texts)
_replies = st.recursive(_leaves, lambda inner: st.lists(inner, max_size=5), max_leaves=20)


def written(reply: Reply) -> bytes:
    """Write a reply as a server would."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(reply), reply)
        case ReplyError():
            return b"-" + reply.encode() + b"\r\n"
    return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


def pieces_of(data: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Hand out data as a socket might: in pieces of these sizes, then the rest, then nothing."""
    offsets = [0]
    for size in sizes:
        offsets.append(min(len(data), offsets[-1] + size))
    chunks = [data[a:b] for a, b in zip(offsets, [*offsets[1:], len(data)], strict=True) if b > a]
    rest = iter(chunks)

    def recv(size: int) -> bytes:
        chunk = next(rest, b"")
        assert len(chunk) <= max(size, len(chunk))
        return chunk

    return recv


@given(st.lists(_replies, min_size=1, max_size=4), st.lists(st.integers(1, 30), max_size=200))
def test_replies_are_the_same_however_they_are_cut(replies: list[Reply], sizes: list[int]) -> None:
    parser = Replies(pieces_of(b"".join(map(written, replies)), sizes))
    for reply in replies:
        found = parser.read()
        assert found == reply
        assert type(found) is type(reply)


@given(_replies, st.data())
def test_a_reply_that_breaks_off_is_an_end_and_never_a_reply(reply: Reply, data: st.DataObject) -> None:
    whole = written(reply)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EOFError):
        Replies(pieces_of(whole[:cut], [3] * 50)).read()


@given(st.lists(st.text(max_size=30) | st.binary(max_size=30) | st.integers(), min_size=1, max_size=6))
def test_a_command_is_an_array_of_bulk_strings(words: list[str | bytes | int]) -> None:
    expected = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    assert Replies(pieces_of(encode(words), [])).read() == expected


# --- What can go wrong ------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def answering(folder: Path) -> Iterator[Callable[[bytes], str]]:
    """Give a function that serves one client these bytes, whatever it asks, and returns the URL."""
    threads: list[threading.Thread] = []

    def serve(server: socket.socket, answer: bytes) -> None:
        with server, server.accept()[0] as client:
            client.recv(1000)
            client.sendall(answer)

    def start(answer: bytes) -> str:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "fake.sock"))
        server.listen()
        threads.append(threading.Thread(target=serve, args=(server, answer)))
        threads[-1].start()
        return f"redis+socket://{folder}/fake.sock"

    yield start
    for thread in threads:
        thread.join()


def reason(url: str, timeout: float = 2.0) -> str:
    with pytest.raises(BrokerError) as caught:
        connect(url, timeout)
    assert isinstance(caught.value, ConnectionError)
    assert str(caught.value) == f"{caught.value.where}: {caught.value.reason}"
    return str(caught.value)


def test_nobody_listening_is_said_with_the_address(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert reason(f"redis://:secret@127.0.0.1:{port}/0") == (
        f"127.0.0.1:{port}: nothing listens there (connection refused)"
    )


def test_a_missing_socket_is_said(folder: Path) -> None:
    assert reason(f"redis+socket://{folder}/gone.sock") == f"{folder}/gone.sock: there is no such socket"


def test_a_socket_that_nobody_serves_any_more_is_refused(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "stale.sock"))
    assert reason(f"unix://{folder}/stale.sock").endswith("nothing listens there (connection refused)")


def test_a_server_that_hangs_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reason(f"redis://127.0.0.1:{port}", 0.05) == f"127.0.0.1:{port}: no answer within 0.05 s"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"-NOAUTH Authentication required.\r\n", "it asks for a password, and the URL has none"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "it is still loading its data"),
        (b"-MISCONF no disk\r\n", "it says: MISCONF no disk"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is not Redis"),
        (b"$3\r\nabcdef\r\n", "what answers there is not Redis"),
        (b"$x\r\n", "what answers there is not Redis"),
        (b"x" * 200_000, "what answers there is not Redis"),
        (b"$5\r\nab", "it closed the connection"),
    ],
)
def test_a_strange_answer_is_explained(answering: Callable[[bytes], str], answer: bytes, expected: str) -> None:
    assert reason(answering(answer)).endswith(f": {expected}")


def test_a_password_that_the_server_echoes_is_not_repeated(answering: Callable[[bytes], str]) -> None:
    url = answering(b"-ERR unknown command 'AUTH', with args beginning with: 's3cret'\r\n+PONG\r\n")
    text = reason(url.replace("://", "://:s3cret@"))
    assert text.endswith("it says: ERR unknown command 'AUTH', with args beginning with: '***'")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://guest:guest@host//", "amqp://…: this is not a Redis URL"),
        ("nonsense", "broker://…: this is not a Redis URL"),
        ("redis://host/mail", "host:6379: the database in its URL is not a number"),
        ("redis://[::1]:7000/x", "[::1]:7000: the database in its URL is not a number"),
        (
            "redis://user:s3#cret@host/0",
            "user: the port in its URL is not a number up to 65535; a password with # / ? or % in it must be quoted",
        ),
        ("redis://[::1/0", "broker: its URL cannot be read: Invalid IPv6 URL"),
        (f"unix:///{'x' * 200}", f"/{'x' * 200}: AF_UNIX path too long"),
        ("redis://host.invalid:6379/0", "host.invalid:6379: this host name is unknown"),
    ],
)
def test_an_url_that_leads_nowhere_is_explained(url: str, expected: str) -> None:
    assert reason(url) == expected


def test_an_error_reply_without_an_explanation_is_quoted() -> None:
    assert explain(ReplyError("ERR other")) == "it says: ERR other"


# --- A real server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """Give the socket of a server whose password is `s#cr%t`, in a folder whose name must be quoted."""
    with redis_server("s#cr%t", suffix=" #1?%") as path:
        yield path


def url(path: Path, password: str = "s#cr%t", database: int = 0, user: str = "") -> str:
    login = f"{user}:{quote(password, safe='')}@" if password else ""
    return f"redis+socket://{login}{quote(str(path))}?virtual_host={database}"


def test_a_quoted_path_a_password_and_a_database_are_understood(server: Path) -> None:
    with connect(url(server, database=3)) as three, connect(url(server, user="default")) as zero:
        assert three.call("SET", "key", b"\x00\xff") == b"OK"
        assert three.call("GET", "key") == b"\x00\xff"
        assert zero.call("GET", "key") is None
        assert three.call("DEL", "key") == 1


def test_a_pipeline_returns_a_reply_for_each_command_and_errors_as_values(server: Path) -> None:
    with connect(url(server)) as connection:
        big = b"x" * 3_000_000
        replies = connection.pipeline(
            [("RPUSH", "list", big, 2, 3.5), ("LRANGE", "list", 0, -1), ("GET", "list"), ("DEL", "list"), ("PING",)]
        )
        assert replies[:2] == [3, [big, b"2", b"3.5"]]
        assert isinstance(replies[2], ReplyError)
        assert replies[3:] == [1, b"PONG"]
        with pytest.raises(BrokerError, match="it says: ERR unknown command 'NONSENSE'"):
            connection.call("NONSENSE")


@pytest.mark.parametrize(
    ("password", "database", "expected"),
    [
        ("", 0, "it asks for a password, and the URL has none"),
        ("wrong", 0, "it does not accept the user or password of the URL"),
        ("s#cr%t", 99, "it has no database of that number"),
    ],
)
def test_a_login_that_fails_says_why(server: Path, password: str, database: int, expected: str) -> None:
    assert reason(url(server, password, database)) == f"{server}: {expected}"


def test_of_a_failover_list_the_first_that_answers_is_taken(server: Path) -> None:
    with connect(f"redis+socket:///nowhere.sock;{url(server)}") as connection:
        assert connection.where == str(server)
