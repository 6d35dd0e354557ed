"""Which words can stand where, by the grammar of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from celeryfleet.cli import reference
from celeryfleet.cli.complete import offers
from celeryfleet.cli.grammar import FILE, grammar
from celeryfleet.cli.main import app

ANEW = "write it anew: python -m celeryfleet.cli.grammar"
SHOP = """
queues: {default: , mail: , "o;dd": }
tasks: {plus: {task: shop.add}}
canvases: {double: "add.s(1, 1)"}
pools: {web: {queues: [default], replicas: 2}, mail: {queues: [mail]}}
"""


def test_the_grammar_is_that_of_the_commands() -> None:
    assert FILE.read_text("utf-8") == grammar(), ANEW


def test_the_reference_of_the_documents_is_that_of_the_commands() -> None:
    up: Any = typer.main.get_command(app).commands["up"]  # type: ignore[attr-defined]
    if not any(param.help for param in up.params if param.param_type_name == "argument"):
        pytest.skip("needs a Typer that knows what arguments are for: 0.16 forgets it with Click 8.5")
    assert reference.FILE.read_text("utf-8") == reference.reference(), (
        "write it anew: python -m celeryfleet.cli.grammar"
    )


@pytest.mark.parametrize(
    ("words", "begun", "offered"),
    [
        ("", "sta", "status"),
        ("", "--prof", "--profile"),
        ("pause", "", "default mail"),
        ("pause mail", "", "default"),
        ("send add --queue", "ma", "mail"),
        ("send add", "--queue=ma", "--queue=mail"),
        ("send", "", "plus"),
        ("send add 1", "", ""),
        ("scale", "", "web=2 mail=1"),
        ("queues", "pe", "peek"),
        ("queues move mail", "d", "default"),
        ("scale web=3", "", "mail=1"),
        ("canvas", "d", "double"),
        ("init", "d", "demo django"),
        ("graph --format", "", "text mermaid dot svg"),
        ("graph --live --format", "te", "text"),
        ("--env-file x health", "w", "web"),
        ("nonsense", "", ""),
    ],
)
def test_what_can_stand_next_is_offered(tmp_path: Path, words: str, begun: str, offered: str) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(SHOP)
    assert [word for word, _ in offers(words.split(), begun, lambda named: str(file))] == offered.split()


def test_the_file_that_f_names_is_the_one_that_is_asked() -> None:
    asked: list[str] = []

    def find(named: str) -> str:
        asked.append(named)
        return ""

    offers(["-f", "other.yaml", "pause"], "", find)
    assert asked == ["other.yaml"]
