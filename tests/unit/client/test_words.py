from __future__ import annotations

import datetime
import json
import re
from itertools import pairwise
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


def bomb() -> str:
    """Return a word of 300 letters that stands for ten billion."""
    levels = "abcdefghij"
    lists = [f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]" for below, name in pairwise(levels)]
    return f"{{a: &a [x, x], {', '.join(lists)}}}"


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(bomb(), id="alias bomb"),
        pytest.param("9" * 5000, id="5,000 digits"),
        pytest.param(f"0x{'f' * 5000}", id="5,000 hexadecimal digits"),
        pytest.param(f"0x{'f' * 3990}", id="more digits than JSON has room for"),
        pytest.param("[" * 50_000, id="nested"),
        pytest.param("[!!set {a, b}]", id="set"),
        pytest.param("[!!binary aGk=]", id="binary"),
        pytest.param("[!!python/name:os.system ]", id="python"),
        pytest.param("{[a]: b}", id="list as a key"),
        pytest.param("{a: 1, a: 2}", id="a key twice"),
    ],
)
def test_a_word_that_is_no_value_of_json_stays_the_text_it_is(word: str) -> None:
    assert scalar(word) == word


@pytest.mark.parametrize("word", [".nan", ".inf", "-.INF", "1.0e+999", "[1, .nan]", "{a: .inf}"])
def test_a_number_that_is_none_is_refused(word: str) -> None:
    """It went out as `NaN`, which no JSON reader but Python's takes."""
    with pytest.raises(FleetError, match=r"is no number that a message can carry\. In quotes it is a text\."):
        scalar(word)


def test_a_word_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(FleetError, match="is not UTF-8"):
        scalar("a\udcff")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[NaN]", "NaN is no number of JSON's"),
        ("[-Infinity]", "-Infinity is no number of JSON's"),
        ("[1e999]", "1e999 is too large a number"),
        (f"[{'9' * 5000}]", "a number in it has more than 4000 digits"),
        ("[" * 300 + "]" * 300, "it is nested more than 100 levels deep"),
        ("[" * 100_000, "it is nested more than 100 levels deep"),
        (r'["\ud800"]', "it holds half a character"),
    ],
)
def test_json_that_no_message_can_carry_is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(FleetError, match=re.escape(f"-a is not JSON: {why}")):
        prepare([], text)


def test_json_that_a_message_can_carry_is_read() -> None:
    deep: Any = []
    for _ in range(99):
        deep = [deep]
    assert prepare([], json.dumps([deep, "\ud83d\ude00", 10**3999]))[0] == [deep, "😀", 10**3999]
