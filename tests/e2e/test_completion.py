"""The Tab key in bash, zsh and fish, each on a terminal of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import APP, FLEET, Home

NAMED = APP + '\n\n@app.task(name="mail:welcome")\ndef welcome():\n    pass\n'
CANVASES = "canvases: {double: 'add.s(1, 1)'}\ntasks: {plus: {task: shop.add}}\n"
#: how each is started without anything of the user's, and reads a script
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
#: has the terminal at stdin be that of the process, as fish wants it
OWNED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
SET_UP = {"bash": "", "zsh": "autoload -Uz compinit; compinit -u -D; bindkey -e\n", "fish": ""}


def pressed(home: Home, shell: str, *lines: str) -> list[str]:
    """Type lines, each with Tab at its end, and return what they have become."""
    script = home.path / f"completion.{shell}"
    script.write_text(SET_UP[shell] + home.run("completion", shell).stdout)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**home.env, "TERM": "xterm", "PATH": path, "HOME": str(home.path)}
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", OWNED, *SHELLS[shell]]
    with subprocess.Popen(
        argv, cwd=home.path, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            shown = typed(master, f"source {script}; echo celeryfleet ready", b"")
            for line in lines:  # Ctrl-A goes to the begin of the line
                shown = typed(master, f"celeryfleet {line}\t\x01echo ", shown)
        finally:
            process.kill()
    os.close(master)
    return [line.strip() for line in told(shown)[1:]]


def typed(master: int, line: str, shown: bytes) -> bytes:
    """Type a line, and return all that the terminal has shown when the line has been run."""
    before = len(told(shown))
    os.write(master, f"{line}\r".encode())
    while len(told(shown)) == before:
        assert select.select([master], [], [], 20)[0], shown.decode(errors="replace")
        shown += os.read(master, 65536)
    return shown


def told(shown: bytes) -> list[str]:
    """Return the whole lines that `echo` wrote, without the word that each begins with."""
    lines = shown.decode(errors="replace").split("\n")[:-1]
    found = [re.sub(r"\x1b\][^\x07]*\x07|\x1b\[[0-?]*[a-zA-Z]|\x1b\(B|\x1b[=>]|\r", "", line) for line in lines]
    return [line.removeprefix("celeryfleet ") for line in found if line.startswith("celeryfleet ") and "^A" not in line]


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_all_that_has_a_name(home: Home, shell: str) -> None:
    if shell != "bash" and shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    home.write(FLEET + CANVASES, NAMED).up()
    (home.path / "other.yaml").write_text("pools: {lonely: {queues: [default]}}\nqueues: {default: }\n")
    expected = {
        "stat": "status",
        "send unt": "send until",
        "send pl": "send plus",
        "route shop.un": "route shop.until",
        "send mail:w": "send mail:welcome",
        "send add 1 2 --que": "send add 1 2 --queue",
        "send add --queue m": "send add --queue mail",
        "send add --queue=m": "send add --queue=mail",
        "pause m": "pause mail",
        "scale w": "scale web=1",
        "health w": "health web",
        "canvas dou": "canvas double",
        "check --explain CF01": "check --explain CF01",
        "check --explain CF010": "check --explain CF010",
        "init dj": "init django",
        "-f other.yaml health l": "-f other.yaml health lonely",
    }
    found = pressed(home, shell, *expected)
    assert found == list(expected.values())


def test_what_was_known_is_still_known_when_the_fleet_is_down_and_fleet_yaml_is_read_anew(home: Home) -> None:
    home.write().up()
    assert pressed(home, "bash", "send unt") == ["send until"]
    home.run("down")
    home.write(FLEET.replace("{default: , mail: }", "{default: , mail: , videos: }"))
    assert pressed(home, "bash", "send unt", "pause vid") == ["send until", "pause videos"]
    home.write(FLEET + "nonsense: [")
    assert pressed(home, "bash", "pause ma") == ["pause mail"], "a file that is half written changes nothing"


def test_the_tasks_of_a_fleet_that_is_down_are_known_from_a_check(home: Home) -> None:
    home.write().up("--scale", "web=0", "--scale", "mail=0").run("down")
    home.run("check", check=False)
    assert pressed(home, "bash", "send unt") == ["send until"]


def test_names_that_a_shell_would_run_are_not_offered(home: Home) -> None:
    app = APP + '\n\n@app.task(name="boom$(touch${IFS}owned)")\ndef bad():\n    pass\n'
    home.write(app=app).up()
    for shell in filter(shutil.which, SHELLS):
        assert pressed(home, shell, "send boom") == ["send boom"]
    assert not (home.path / "owned").exists()


def test_an_answer_imports_neither_typer_nor_yaml_nor_the_app(home: Home) -> None:
    home.write().up()
    asked = {
        "_CELERYFLEET_COMPLETE": "complete_bash",
        "COMP_WORDS": "celeryfleet\nsend\nunt",
        "COMP_CWORD": "2",
    }
    code = (
        "import atexit, sys; from celeryfleet.cli.entry import main; "
        "atexit.register(lambda: print({'typer', 'click', 'yaml', 'celery', 'shop'} & set(sys.modules))); main()"
    )
    for _ in range(2):  # the first one reads fleet.yaml
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=home.path, env={**home.env, **asked}, capture_output=True, text=True
        )
    assert (done.stdout, done.stderr) == ("until\nset()\n", "")
    kept = json.loads((home.path / ".celeryfleet" / "fleet.yaml.words").read_text())
    assert kept["tasks"]["shop.until"] == "until"
