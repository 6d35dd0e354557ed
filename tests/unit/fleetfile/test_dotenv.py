"""Env files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.fleetfile.dotenv import parse


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b ", "b"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=# comment", ""),
        ("A='b # c' # comment", "b # c"),
        ("A='$b\\n'", "$b\\n"),
        ('A="b\\nc\\"d\\\\"', 'b\nc"d\\'),
        ('A="b\nc"', "b\nc"),
        ("A=pa$$word=1", "pa$$word=1"),
        ("A=it's", "it's"),
    ],
)
def test_a_line_is_a_variable(line: str, value: str) -> None:
    assert parse(f"# first\n\n{line}\nZ=z\n", ".env") == ({"A": value, "Z": "z"}, [])


def test_the_last_of_two_lines_wins() -> None:
    assert parse("A=1\nA=2\n", ".env")[0] == {"A": "2"}


@pytest.mark.parametrize("line", ["A", "=b", "1A=b", "A B=c", "A='b", "A='b'c"])
def test_a_line_that_is_none_is_a_problem_and_the_rest_is_read(line: str) -> None:
    variables, problems = parse(f"X=x\n{line}\n", ".env")
    assert [problem.where for problem in problems] == [".env:2:1"]
    assert variables == {"X": "x"}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    parse(text, ".env")


@given(st.text(alphabet=st.characters(exclude_characters="'\0", exclude_categories=["Cs", "Cc", "Zl", "Zp"])))
def test_a_text_in_single_quotes_is_itself(text: str) -> None:
    assert parse(f"A='{text}'", ".env") == ({"A": text}, [])
