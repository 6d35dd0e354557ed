"""The token: its file, and the addresses that a page is asked to listen to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from celeryfleet.cli.usage import spelled
from celeryfleet.errors import FleetError
from celeryfleet.web import token
from celeryfleet.web.serve import address, bound


def test_a_token_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    made, fresh = token.read(tmp_path / "token")
    assert fresh
    assert len(made) >= 32
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert token.read(tmp_path / "token") == (made, False)


def test_a_token_that_is_made_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    (tmp_path / "shop.new").write_text("somebody's")
    token.read(tmp_path / "shop.token")
    assert (tmp_path / "shop.new").read_text() == "somebody's"


@pytest.mark.parametrize(("mode", "text", "told"), [(0o644, "a long enough token", "by others"), (0o600, "x", "short")])
def test_a_token_that_others_can_read_or_guess_is_not_taken(tmp_path: Path, mode: int, text: str, told: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(FleetError, match=told):
        token.read(file)


def test_a_folder_or_a_pipe_is_no_token_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for file in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(FleetError, match="is no file"):
            token.read(file)


def test_a_link_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").symlink_to(tmp_path / "other")
    with pytest.raises(FleetError, match="cannot be"):
        token.read(tmp_path / "token")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("127.0.0.1", 5580)),
        ("8000", ("127.0.0.1", 8000)),
        ("0.0.0.0", ("0.0.0.0", 5580)),
        ("shop.example:80", ("shop.example", 80)),
        ("[::1]:8000", ("::1", 8000)),
        ("[::]", ("::", 5580)),
    ],
)
def test_an_address_is_a_port_a_host_or_both(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "no.such.name.invalid"])
def test_a_name_that_is_none_cannot_be_listened_to(host: str) -> None:
    with pytest.raises(FleetError, match="there is no such name"):
        bound(host, 80)


@pytest.mark.parametrize("text", ["a:b", "a:70000", "::1", "a:b:c"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(FleetError, match="is no address"):
        address(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("up --ui", "up --ui="),
        ("up -d --ui web", "up -d --ui= web"),
        ("up --ui 8000 web", "up --ui 8000 web"),
        ("up --ui 0.0.0.0:80", "up --ui 0.0.0.0:80"),
        ("up --ui localhost web", "up --ui localhost web"),
    ],
)
def test_the_address_of_up_may_be_left_out(words: str, expected: str) -> None:
    assert spelled(words.split()) == expected.split()
