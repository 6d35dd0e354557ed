"""What tasks, messages and apps say cannot command the terminal it is shown on; a pipe gets it as it is."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import FLEET, Home
from tests.fakes import ending, eventually

#: sets the title, clears the screen by a C1 character, turns letters round, and is no letter at all
NASTY = "\x1b]0;owned\x07\x9b2J\u202e\udcff\x7f"
SPELLED = r"\x1b]0;owned\x07\x9b2J\u202e\udcff\x7f"

APP = f"""
from celery import Celery

app = Celery("shop")
NASTY = {NASTY!r}


@app.task
def says():
    print("in the log: " + NASTY)
    return NASTY


@app.task
def fails():
    raise ValueError(NASTY)


@app.task(name="shop.na\\x1b[31mme")
def named():
    pass
"""


def on_terminal(home: Home, *words: str, code: int = 0) -> str:
    """Run a command on a terminal; return all that it wrote there."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "celeryfleet", *words]
    env = {**home.env, "TERM": "xterm", "PYTHONUTF8": "1"}
    with ending(subprocess.Popen(argv, cwd=home.path, stdout=slave, stderr=slave, env=env)) as process:
        os.close(slave)
        parts = []
        with contextlib.suppress(OSError):  # how Linux says that the other side has closed
            while part := os.read(master, 65536):
                parts.append(part)
        assert process.wait(60) == code, b"".join(parts)
    os.close(master)
    return b"".join(parts).decode().replace("\r\n", "\n")


def foreign(text: str) -> set[str]:
    """Return what commands a terminal, but for colours, line ends, and what the spinner draws with."""
    ours = re.sub(r"\x1b\[[\d;]*[mK]|\x1b\[\d*A|\x1b\[\?25[lh]|\r|\x1b\[2K", "", text)
    return set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\udcff]", ours))


def test_results_errors_logs_and_names_are_spelled_out_on_a_terminal_and_raw_in_a_pipe(home: Home) -> None:
    home.write(FLEET.replace("shop.until", "shop.x"), APP).up()
    piped = home.run("send", "shop.says", env={"PYTHONIOENCODING": "utf-8:surrogatepass"})
    assert "\x1b]0;owned\x07\x9b2J\u202e" in piped.stdout
    eventually(lambda: "owned" in home.log("web-1"))
    for words, code in (
        (["send", "shop.says"], 0),
        (["send", "shop.says", "--json"], 0),
        (["send", "shop.fails"], 1),
        (["logs", "-n", "50"], 0),
        (["tasks"], 0),
        (["status"], 0),
    ):
        shown = on_terminal(home, *words, code=code)
        assert foreign(shown) == set(), words
        if words[0] != "status" and "--json" not in words:
            assert SPELLED in shown or r"shop.na\x1b[31mme" in shown, (words, shown)
    assert "\x1b[" in on_terminal(home, "logs", "-n", "1"), "our own colours stay"


@pytest.mark.parametrize("words", ["check", "status", "route x"])
def test_what_a_fleet_yaml_says_is_spelled_out(tmp_path: Path, words: str) -> None:
    home = Home(tmp_path)
    (tmp_path / "fleet.yaml").write_text('name: shop\n"po\\x1b[31mols\\x9b": {}\nqueues: {default: }\n')
    assert foreign(on_terminal(home, *words.split(), code=2)) == set()
