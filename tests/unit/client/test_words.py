from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.client.words import parse_words, prepare, scalar
from celeryfleet.errors import FleetError


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("4", 4),
        ("-4.5", -4.5),
        ("true", True),
        ("null", None),
        ("", ""),
        ("Bob", "Bob"),
        ("photo.jpg", "photo.jpg"),
        ("Hello: world", "Hello: world"),
        ("- x", "- x"),
        ("# no comment", "# no comment"),
        ("*star", "*star"),
        ("&and", "&and"),
        ("!tag", "!tag"),
        ("'4'", "4"),
        ('"a=b"', "a=b"),
        ("[1, [2, x]]", [1, [2, "x"]]),
        ("{x: 4}", {"x": 4}),
        ("[half", "[half"),
        ("2030-01-31", datetime.date(2030, 1, 31)),
        ("2030-13-99", "2030-13-99"),
        ("!!python/object/apply:os.system [x]", "!!python/object/apply:os.system [x]"),
    ],
)
def test_a_word_is_read_as_a_yaml_scalar(word: str, value: Any) -> None:
    found = scalar(word)
    assert found == value
    assert type(found) is type(value)


def test_a_name_before_an_equals_sign_makes_a_keyword() -> None:
    words = ["4", "y=4", "http://x?a=b", "1a=b", "note=a=b", "empty="]
    assert parse_words(words) == ([4, "http://x?a=b", "1a=b"], {"y": 4, "note": "a=b", "empty": ""})


def test_json_comes_before_words_and_a_name_may_be_given_once() -> None:
    assert prepare(["3", "z=5"], "[1, 2]", '{"y": 4}') == ([1, 2, 3], {"y": 4, "z": 5})
    for words, keywords in ((["x=1", "x=2"], ""), (["x=1"], '{"x": 2}')):
        with pytest.raises(FleetError, match='"x" is given twice'):
            prepare(words, "", keywords)


@pytest.mark.parametrize(
    ("positional", "keywords", "part"),
    [
        ('{"x": 1}', "", "-a takes a list"),
        ("", "[1]", "-k takes an object"),
        ("[1", "", "-a is not JSON"),
        ("[" * 100_000, "", "-a is not JSON"),
    ],
)
def test_json_of_the_wrong_shape_is_refused(positional: str, keywords: str, part: str) -> None:
    with pytest.raises(FleetError, match=part):
        prepare([], positional, keywords)


@given(st.text(max_size=30))
def test_any_word_is_read_as_something(word: str) -> None:
    args, kwargs = parse_words([word])
    assert len(args) + len(kwargs) == 1


@given(st.lists(st.integers() | st.booleans() | st.none() | st.text(max_size=10)))
def test_json_arguments_arrive_as_they_were(values: list[Any]) -> None:
    assert prepare([], json.dumps(values)) == (values, {})
