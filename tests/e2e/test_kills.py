"""SIGKILL to each part of a fleet while tasks run: nothing acknowledged late is lost, nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually


def part(home: Home, needle: str) -> int:
    """Find one process of a home by its command."""
    found = [pid for pid, command in home.processes().items() if needle in command]
    assert len(found) == 1, home.processes()
    return found[0]


def busy(home: Home) -> None:
    """Have a task run in mail-1 and two more wait behind it."""
    lines = [json.dumps({"args": [name]}) for name in ("one", "two", "three")]
    (home.path / "calls.jsonl").write_text("\n".join(lines))
    home.run("send", "until", "--from", "calls.jsonl", "--no-wait")
    eventually(lambda: "start one" in home.trace())


def release(home: Home) -> None:
    """Let all tasks end, and see that each has ended."""
    for name in ("one", "two", "three"):
        (home.path / name).touch()
    eventually(lambda: {"end one", "end two", "end three"} <= set(home.trace()))


def test_a_killed_worker_is_replaced_and_its_messages_come_back_at_once(home: Home) -> None:
    home.write().up()
    busy(home)
    before = home.pid("mail-1")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["pid"] not in (None, before))
    release(home)
    worker = home.worker("mail-1")
    assert worker["restarts"] == 1
    assert worker["last_exit"]["signal"] == "SIGKILL"
    assert "web-1" not in home.log().split("SIGKILL", 1)[1].split("ready")[0]


def test_a_killed_worker_leaves_no_pool_child_behind(home: Home) -> None:
    home.write().up()
    busy(home)
    (child,) = children(home.pid("mail-1"))
    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{child}").exists())
    release(home)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_fork_server_harms_no_worker(home: Home) -> None:
    home.write().up()
    busy(home)
    before = home.pid("mail-1")
    os.kill(part(home, "fork server"), signal.SIGKILL)
    eventually(lambda: home.log().count("the app is imported") == 2)
    assert home.pid("mail-1") == before
    os.kill(home.pid("web-1"), signal.SIGKILL)
    eventually(lambda: home.worker("web-1")["restarts"] == 1 and home.ready())
    release(home)


def test_a_killed_broker_comes_back_with_its_messages(home: Home) -> None:
    home.write().up()
    busy(home)
    os.kill(part(home, "valkey-server"), signal.SIGKILL)
    eventually(lambda: home.log().count("the broker is ready") == 2)
    release(home)
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    assert home.worker("mail-1")["restarts"] == 0
    assert home.trace().count("end one") == 1, "a task that went on running was done twice"


def test_after_a_killed_supervisor_tasks_finish_and_everything_ends(home: Home) -> None:
    home.write().up()
    busy(home)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    eventually(lambda: "Warm shutdown" in home.log("mail-1"))
    (home.path / "one").touch()
    eventually(lambda: "end one" in home.trace())
    eventually(lambda: not home.processes())
    assert home.run("health", check=False).returncode == 3
    home.up()
    release(home)
    assert home.trace().count("end one") == 1


def test_sending_to_what_a_killed_supervisor_left_is_refused_without_a_traceback(home: Home) -> None:
    home.write().up()
    busy(home)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    done = home.run("send", "add", "1", "1", check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("error: The fleet is not running."), done.stderr
    (home.path / "one").touch()
    eventually(lambda: not home.processes())


def test_up_right_after_a_killed_supervisor_takes_over_what_still_runs(home: Home) -> None:
    home.write().up()
    busy(home)
    before = home.pid("mail-1")
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    home.run("up", "-d")
    assert home.worker("mail-1")["pid"] == before
    assert home.worker("mail-1")["state"] == "stopping"
    release(home)
    eventually(home.ready)
    assert home.trace().count("start one") == 1
    assert home.pid("mail-1") != before


def test_down_after_a_killed_supervisor_stops_what_is_left(home: Home) -> None:
    home.write().up()
    busy(home)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    home.run("down", "--cold")
    assert home.processes() == {}
    home.up()
    release(home)


def test_everything_killed_at_once_loses_nothing(home: Home) -> None:
    home.write().up()
    busy(home)
    for pid in [home.status()["supervisor"]["pid"], *home.processes()]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    eventually(lambda: not home.processes())
    home.up()
    release(home)


def test_a_broker_that_nobody_has_written_down_is_taken_over_with_its_messages(home: Home) -> None:
    """A supervisor killed right after it had started the broker: the next one started a second on the same files."""
    home.write().up()
    busy(home)
    broker = part(home, "valkey-server")
    for pid in home.processes():
        if pid != broker:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    eventually(lambda: set(home.processes()) == {broker})
    (home.path / ".celeryfleet" / "shop" / "pids.json").unlink()
    home.up()
    assert part(home, "valkey-server") == broker
    release(home)


def test_what_workers_that_are_not_wanted_again_were_doing_is_cleared_away(home: Home) -> None:
    home.write().up()
    home.run("scale", "web=3")
    running = home.path / ".celeryfleet" / "shop" / "running"
    eventually(lambda: {file.name for file in running.iterdir()} == {"mail-1", "web-1", "web-2", "web-3"})
    for pid in (home.status()["supervisor"]["pid"], *home.processes()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not home.processes())
    home.up()
    assert {file.name for file in running.iterdir()} == {"mail-1", "web-1"}


def test_a_solo_worker_that_is_stopped_cold_gives_its_task_back(home: Home) -> None:
    """It failed, by an error of the pool in its midst, and was acknowledged."""
    home.write(FLEET.replace("mail: {queues: [mail], ", "mail: {queues: [mail], pool: solo, ")).up()
    busy(home)
    home.run("down", "--cold")
    assert "end one" not in home.trace()
    assert "does not implement kill_job" not in home.log("mail-1")
    home.up()
    release(home)


def test_a_worker_that_cannot_start_ends_in_failed_with_its_last_words(home: Home) -> None:
    app = APP + "\nif os.environ.get('CELERYFLEET_WORKER') == 'web-1':\n    raise SystemExit('no such licence')\n"
    fleet = FLEET.replace("web: {", "web: {restart: {backoff: 50ms, max_backoff: 100ms, max_restarts: 2}, ")
    home.write("preload: false\n" + fleet, app)
    done = home.run("up", "-d", "--wait", check=False)
    assert done.returncode == 3
    assert "no such licence" in done.stderr
    worker = home.worker("web-1")
    assert worker["state"] == "failed"
    assert "no such licence" in "\n".join(worker["last_exit"]["log"])
    assert home.worker("mail-1")["state"] == "ready"
    assert "no such licence" in home.run("status").stdout
    home.write()
    home.run("restart", "web")
    assert home.ready()


def test_an_app_that_does_not_import_is_shown_with_its_reason(home: Home) -> None:
    home.write(app="import nothing_like_this\n")
    done = home.run("up", "-d", "--wait", check=False)
    assert done.returncode == 3
    assert "nothing_like_this" in done.stderr
    home.write().up()
    assert home.send("add", "1", "1") == 2


# --- What must not leak, or be done twice -----------------------------------------------------------------


def test_a_killed_broker_does_not_make_threads_do_their_tasks_twice(home: Home) -> None:
    mail = "mail: {queues: [mail], pool: threads, concurrency: 1, prefetch_multiplier: 4, "
    home.write(FLEET.replace("mail: {queues: [mail], prefetch_multiplier: 1, ", mail)).up()
    busy(home)
    os.kill(part(home, "valkey-server"), signal.SIGKILL)
    eventually(lambda: home.log().count("the broker is ready") == 2)
    eventually(home.ready)
    release(home)
    eventually(lambda: sum(queue["ready"] + queue["unacked"] for queue in home.status()["queues"]) == 0)
    assert sorted(home.trace()) == ["end one", "end three", "end two", "start one", "start three", "start two"]


def descriptors(pid: int) -> dict[int, str]:
    """Return what a process has open."""
    return {int(entry.name): os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}  # noqa: PTH115


def test_killed_workers_cost_no_descriptors_and_live_ones_share_none(home: Home) -> None:
    home.write().up()
    supervisor, server = home.status()["supervisor"]["pid"], part(home, "fork server")
    before = [len(descriptors(pid)) for pid in (supervisor, server)]
    for number in range(1, 5):
        os.kill(home.pid("web-1"), signal.SIGKILL)
        eventually(lambda number=number: home.worker("web-1")["restarts"] == number and home.ready())  # type: ignore[misc]
    eventually(lambda: [len(descriptors(pid)) for pid in (supervisor, server)] == before)
    web, mail = (descriptors(home.pid(name)) for name in ("web-1", "mail-1"))
    shared = {target for target in web.values() if target.startswith("socket:")} & set(mail.values())
    assert shared == set()
    assert not [target for target in (*web.values(), *mail.values()) if target.endswith(("/lock", "/supervisor.log"))]


def test_a_hangup_signal_while_fleet_yaml_is_broken_is_told_and_changes_nothing(home: Home) -> None:
    home.write().up()
    before = home.pid("web-1")
    (home.path / "fleet.yaml").write_text(FLEET.replace("queues: [mail]", "queues: [maill]"))
    os.kill(home.status()["supervisor"]["pid"], signal.SIGHUP)
    eventually(lambda: 'unknown queue "maill"' in home.log())
    home.write()
    assert home.pid("web-1") == before
    assert home.ready()


def test_a_state_folder_that_takes_no_file_does_not_stop_supervision(home: Home) -> None:
    home.write().up()
    state = home.path / ".celeryfleet" / "shop"
    (state / "pids.new").mkdir()
    (state / "settings.new").unlink(missing_ok=True)
    (state / "settings.new").mkdir()
    before = home.pid("web-1")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: home.worker("web-1")["pid"] not in (None, before) and home.ready())
    assert "pids.json could not be written" in home.log()
    done = home.run("reload", check=False)
    assert "settings.json could not be written" in done.stderr
    assert home.send("add", "1", "1") == 2


def test_ups_at_the_same_time_make_one_fleet(home: Home) -> None:
    home.write()
    started = [home.start("up", "-d", "--wait") for _ in range(3)]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    eventually(lambda: len([c for c in home.processes().values() if "celeryfleet.supervise" in c]) == 1)
    assert home.send("add", "1", "1") == 2


def test_a_daemon_that_a_task_starts_outlives_its_worker(home: Home) -> None:
    app = (
        APP
        + """

@app.task
def daemon():
    import subprocess
    script = "(setsid sh -c 'sleep 61 & echo $! > daemon.pid' &)"
    subprocess.run(["sh", "-c", script], cwd=here, check=True)
"""
    )
    home.write(app=app).up()
    home.send("daemon")
    pid = int(eventually(lambda: (home.path / "daemon.pid").exists() and (home.path / "daemon.pid").read_text()))
    os.kill(home.pid("web-1"), signal.SIGKILL)
    eventually(lambda: home.worker("web-1")["restarts"] == 1 and home.ready())
    os.kill(pid, signal.SIGKILL)  # it is there


SAYS = """

def say(**_):
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}").startswith("socket:"):
                os.write(int(entry), b'{"t":"hello","pid":"x"}\\n')
        except OSError:
            pass


if os.environ.get("CELERYFLEET_WORKER") == "web-1":
    say()  # where each worker imports the app by itself

from celery.signals import worker_init
worker_init.connect(lambda **_: os.environ.get("CELERYFLEET_WORKER") == "web-1" and say(), weak=False)
"""


@pytest.mark.parametrize("preload", ["true", "false"])
def test_a_fleet_can_be_stopped_whatever_its_workers_say(home: Home, preload: str) -> None:
    home.write(f"preload: {preload}\n{FLEET}", APP + SAYS)
    home.run("up", "-d")
    eventually(lambda: "what web-1 says is not understood" in home.log())
    eventually(lambda: home.worker("mail-1")["state"] == "ready")
    assert isinstance(home.worker("web-1")["pid"], int | None)
    home.run("down")
    assert home.processes() == {}
