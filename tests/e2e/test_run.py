"""`run`: a task in this terminal and this process, as one of its pool's workers would run it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time

from tests.e2e.conftest import Home

APP = """
import os
from celery import Celery
from celery.signals import worker_process_init

app = Celery("shop")
MODE = os.environ.get("MODE", "none")
opened = []


@worker_process_init.connect
def open_it(**_):
    opened.append(True)


@app.task
def add(a, b=1):
    print("adding")
    return a + b


@app.task
def settings():
    return [MODE, os.environ["FROM_FILE"], app.conf.worker_concurrency, os.path.basename(os.getcwd()), len(opened)]


@app.task(bind=True, max_retries=2, default_retry_delay=1000)
def flaky(self, tries):
    print(self.request.id, self.request.retries)
    if self.request.retries < tries:
        raise self.retry(exc=ValueError("not yet"))
    return [self.request.retries, self.request.delivery_info["routing_key"], self.request.called_directly]


@app.task
def halt(x):
    y = 2 * x
    breakpoint()
    return y


@app.task
def sends():
    return add.delay(1).id
"""

FLEET = """
name: shop
app: shop
env_file: [shop.env]
queues: {default: , mail: , lonely: }
routes:
  - {task: shop.settings, queue: mail}
  - {task: shop.sends, queue: lonely}
tasks: {plus: {task: shop.add}}
pools:
  web: {queues: [default]}
  mail: {queues: [mail], concurrency: 7, env: {MODE: big}}
"""


def written(home: Home) -> Home:
    (home.path / "shop.env").write_text("FROM_FILE=yes\n")
    (home.path / "below").mkdir()
    return home.write(FLEET, APP)


def test_a_task_runs_without_worker_and_broker_and_its_result_is_printed_as_by_send(home: Home) -> None:
    written(home)
    for words in (["add", "4", "4"], ["plus", "4", "b=4"], ["shop.add", "-a", "[4]", "-k", '{"b": 4}']):
        done = home.run("run", *words)
        assert done.stdout == "adding\n8\n"
        assert re.search(r"✓ shop.add ran in \d+\.\d\d s here, as in pool web\n", done.stderr)
    assert home.run("run", "add", "--", "-4").stdout == "adding\n-3\n"
    found = json.loads(home.run("run", "add", "1", "--json").stdout.removeprefix("adding\n"))
    assert list(found) == ["schema_version", "id", "task", "queue", "state", "result", "runtime_s", "error"]
    assert (found["task"], found["queue"], found["state"], found["result"]) == ("shop.add", "default", "SUCCESS", 2)
    assert home.processes() == {}


def test_it_has_the_settings_the_environment_and_the_folder_of_the_pool_that_would_run_it(home: Home) -> None:
    written(home)
    home.path = home.path / "below"
    try:
        as_mail = json.loads(home.run("run", "settings").stdout)
        as_web = json.loads(home.run("run", "settings", "--pool", "web").stdout)
        unread = home.run("run", "sends", check=False)
    finally:
        home.path = home.path.parent
    assert as_mail == ["big", "yes", 7, home.path.name, 1]
    assert (as_web[0], as_web[2]) == ("none", 1)
    assert (unread.returncode, "lonely, which no pool reads" in unread.stderr) == (2, True)
    assert 'Did you mean "web"?' in home.run("run", "add", "1", "--pool", "wbe", check=False).stderr


def test_retries_follow_at_once_under_the_same_id_and_a_failure_is_exit_1_with_its_traceback_once(home: Home) -> None:
    written(home)
    done = home.run("run", "flaky", "1")
    (first, zero), (second, one) = (line.split() for line in done.stdout.splitlines()[:2])
    assert (first, zero, one) == (second, "0", "1")
    assert json.loads(done.stdout.splitlines()[2]) == [1, "default", False]
    failed = home.run("run", "flaky", "9", check=False)
    assert failed.returncode == 1
    assert len(failed.stdout.splitlines()) == 3
    assert failed.stderr.count("ValueError: not yet") == 2, "in the sentence and in the traceback"
    assert 'shop.py", line' in failed.stderr
    wrong = home.run("run", "add", check=False)
    assert (wrong.returncode, "It is called as add(a, b=1)." in wrong.stderr) == (2, True)


def test_breakpoint_stops_in_the_terminal_and_takes_commands(home: Home) -> None:
    written(home)
    code, shown = debugged(home, ["p x, y", "c"])
    assert "-> return y" in shown
    assert "(21, 42)" in shown
    assert "✓ shop.halt ran" in shown
    assert (code, shown.splitlines()[-1]) == (0, "42")
    code, shown = debugged(home, ["q"])
    assert (code, "Traceback" in shown) == (130, False)


def debugged(home: Home, commands: list[str]) -> tuple[int, str]:
    """Run a task that stops in the debugger, on a terminal; type commands at its prompts."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "celeryfleet", "run", "halt", "21"]
    env = {**home.env, "NO_COLOR": "1", "TERM": "dumb"}
    process = subprocess.Popen(
        argv, cwd=home.path, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            shown += os.read(ours, 4096)
            if commands and shown.endswith(b"(Pdb) "):
                os.write(ours, f"{commands.pop(0)}\n".encode())
    except OSError:  # the terminal's other end is closed
        pass
    finally:
        os.close(ours)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def test_what_a_task_sends_goes_to_the_fleet(home: Home) -> None:
    written(home).up()
    task = home.run("run", "sends", "--pool", "web").stdout.strip()
    assert home.run("result", task, "--json", check=False).returncode in (0, 124)
    home.run("send", "add", "1")
    assert home.run("result", task).stdout == "2\n"
