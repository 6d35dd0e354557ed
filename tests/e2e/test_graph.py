"""The command `graph`: what it prints where, what it refuses, and that it shows a running fleet."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.conftest import FLEET, Home, home  # noqa: F401 - a fixture
from tests.fakes import eventually
from tests.unit.render.graph.shops import SHOP


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a fleet.yaml."""
    (tmp_path / "fleet.yaml").write_text(SHOP, "utf-8")
    return tmp_path


def graph(folder: Path, *words: str, code: int = 0, **env: str) -> tuple[str, str]:
    """Run the command; return what it printed, and what it said beside."""
    done = subprocess.run(
        [sys.executable, "-m", "celeryfleet", "graph", *words],
        cwd=folder,
        env={**{key: value for key, value in os.environ.items() if key != "COLUMNS"}, **env},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_it_draws_for_the_terminal_unless_told_otherwise(folder: Path) -> None:
    text, said = graph(folder)
    assert text.startswith("shop: 8 routes, 7 queues, 4 pools with 4 workers\n")
    assert "─▶ ◇ events topic" in text
    assert said == ""


@pytest.mark.parametrize(
    ("form", "start"), [("mermaid", "---\ntitle: "), ("dot", 'digraph "shop" {\n'), ("svg", "<svg xmlns=")]
)
def test_each_format_is_printed_as_utf_8_whatever_the_terminal_takes(folder: Path, form: str, start: str) -> None:
    text, _ = graph(folder, "--format", form, PYTHONIOENCODING="ascii")
    assert text.startswith(start)
    assert "2 × 4" in text


@pytest.mark.parametrize(
    ("name", "start"), [("a.svg", "<svg"), ("a.dot", "digraph"), ("a.mmd", "---"), ("a.txt", "shop: 8"), ("a", "shop:")]
)
def test_a_file_s_name_says_the_format(folder: Path, name: str, start: str) -> None:
    text, said = graph(folder, "-o", name)
    assert (text, said) == ("", f"wrote {name}\n")
    assert (folder / name).read_text("utf-8").startswith(start)


def test_an_ending_that_stands_for_no_form_is_an_error_that_lists_those_that_do(folder: Path) -> None:
    _, said = graph(folder, "-o", "a.pdf", code=2)
    assert said.startswith('error: a.pdf: no form of drawing ends with ".pdf".')
    assert ".txt, .mmd, .mermaid, .dot, .gv or .svg" in said
    assert not (folder / "a.pdf").exists()
    graph(folder, "-o", "a.pdf", "--format", "dot")
    assert (folder / "a.pdf").read_text("utf-8").startswith("digraph")
    graph(folder, "-o", "a.json", "--json")
    assert json.loads((folder / "a.json").read_text("utf-8"))["fleet"] == "shop"


def test_a_file_that_exists_is_never_overwritten(folder: Path) -> None:
    before = (folder / "fleet.yaml").read_text("utf-8")
    text, said = graph(folder, "-o", "fleet.yaml", code=2)
    assert "error: fleet.yaml exists already, and is never overwritten." in said
    assert (text, (folder / "fleet.yaml").read_text("utf-8")) == ("", before)


def test_a_file_that_cannot_be_written_is_an_error(folder: Path) -> None:
    _, said = graph(folder, "-o", "nowhere/a.svg", code=1)
    assert said == "error: nowhere/a.svg cannot be written: No such file or directory.\n"


def test_json_is_one_document(folder: Path) -> None:
    found = json.loads(graph(folder, "--json")[0])
    assert (found["schema_version"], found["fleet"], len(found["edges"])) == (1, "shop", 28)
    assert "--json and --format exclude each other" in graph(folder, "--json", "--format", "dot", code=2)[1]


def test_a_profile_makes_its_pool_run(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "celeryfleet", "--profile", "full", "graph", "--json"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    assert all(pool["active"] for pool in json.loads(done.stdout)["pools"])


def test_a_terminal_that_knows_no_lines_gets_ascii(folder: Path) -> None:
    text, _ = graph(folder, PYTHONIOENCODING="ascii")
    assert "shop.video.encode p9 -" in text
    assert text.isascii()
    assert "?" not in text


def test_a_terminal_gets_colours_within_its_width(folder: Path) -> None:
    master, slave = pty.openpty()
    env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "COLUMNS": "90", "TERM": "xterm"}
    words = [sys.executable, "-m", "celeryfleet", "graph"]
    with subprocess.Popen(words, cwd=folder, stdout=slave, stderr=slave, env={**env, "PYTHONUTF8": "1"}) as process:
        os.close(slave)
        parts = []
        while part := _read(master):
            parts.append(part)
        assert process.wait(60) == 0
    os.close(master)
    text = b"".join(parts).decode()
    assert "\x1b[31mlonely" in text
    assert "\x1b[1mvideo\x1b[0m" in text
    lines = re.sub(r"\x1b\[\d*m", "", text).splitlines()
    assert max(len(line) for line in lines) <= 90


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""


def test_it_imports_neither_celery_nor_the_app_nor_rich(folder: Path) -> None:
    code = (
        "import sys; from celeryfleet.cli.main import run; run(['graph', '--format', 'svg']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert {"celery", "kombu", "redis"}.isdisjoint(done.stderr.split())


def test_a_fleet_that_is_down_is_drawn_as_such(folder: Path) -> None:
    (folder / "fleet.yaml").write_text(FLEET, "utf-8")
    text, said = graph(folder, "--live")
    assert said == "shop is down, and drawn as such. Start it: celeryfleet up -d --wait\n"
    assert text.startswith("shop (down): 1 route, 2 queues, 2 pools, 0 of 2 workers ready\n")
    assert "0/1 ready" in text
    assert "no consumer" in text


def test_a_running_fleet_is_drawn_with_its_numbers(home: Home) -> None:  # noqa: F811 - the fixture
    home.write().up()
    text = home.run("graph", "--live").stdout
    assert text.startswith("shop (ready): 1 route, 2 queues, 2 pools, 2 of 2 workers ready\n")
    assert text.count("0 ready · 1 consumer") == 2
    assert text.count("1/1 ready") == 2

    home.run("pause", "mail")
    for number in range(3):
        home.post("until", f"gate{number}")

    def waiting() -> bool:
        queues = {queue["name"]: queue for queue in json.loads(home.run("graph", "--live", "--json").stdout)["queues"]}
        return [queues["mail"][key] for key in ("ready", "consumers")] == [3, 0]

    eventually(waiting)
    found = home.run("graph", "--live").stdout
    assert "3 ready · oldest " in found
    assert "paused" in found
    drawing = ElementTree.fromstring(home.run("graph", "--live", "--format", "svg").stdout)
    texts = ["".join(element.itertext()) for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("shop (ready)") for text in texts), "the fleet's state"
    assert any(text.startswith("3 ready") for text in texts)
