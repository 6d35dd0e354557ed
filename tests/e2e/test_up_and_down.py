"""A fleet from fleet.yaml to a task executed in the right pool, and back to nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.e2e.conftest import FLEET, Home
from tests.fakes import eventually
from tests.servers import redis_server


@pytest.mark.parametrize("preload", ["auto", "false"])
def test_each_task_runs_in_the_pool_that_its_route_names(home: Home, preload: str) -> None:
    home.write(FLEET + f"preload: {preload}\nroutes: []\n".replace("routes: []\n", "")).up()
    worker, pid = home.send("where")
    assert worker == "web-1"
    assert home.send("where", "--queue", "mail")[0] == "mail-1"
    parent = int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)], text=True))
    assert parent == home.pid("web-1"), "the task did not run under the worker that status shows"
    assert home.send("add", "4", "4") == 8


@pytest.mark.parametrize("kind", ["threads", "solo", "gevent"])
def test_other_pools_work_too(home: Home, kind: str) -> None:
    fleet = FLEET.replace("web: {", f"web: {{pool: {kind}, ")
    home.write(fleet).up()
    assert home.send("add", "4", "4") == 8
    assert home.worker("web-1")["processed"] == 1
    home.run("down")
    assert home.processes() == {}


def test_down_stops_everything_and_removes_its_sockets(home: Home) -> None:
    home.write().up()
    assert len(home.processes()) >= 5
    home.run("down")
    assert home.processes() == {}
    state = home.path / ".celeryfleet" / "shop"
    assert not list(state.glob("*.sock"))
    assert home.run("health", check=False).returncode == 3
    assert home.run("down").returncode == 0, "stopping what is stopped is no error"


def test_queued_messages_outlive_the_fleet(home: Home) -> None:
    home.write().up("--scale", "web=0")
    sent = home.post("add", "20", "22", "--force")
    home.run("down")
    home.up()
    found = eventually(lambda: _result(home, sent))
    assert found is not None
    assert found["result"] == 42


def _result(home: Home, task: str) -> dict[str, object] | None:
    done = home.run("result", task, "--json", check=False)
    found = json.loads(done.stdout) if done.stdout else {}
    return found if found.get("state") == "SUCCESS" else None


def test_up_again_replaces_only_what_changed(home: Home) -> None:
    home.write().up()
    supervisor, web, mail = home.status()["supervisor"]["pid"], home.pid("web-1"), home.pid("mail-1")
    home.up()
    assert (home.pid("web-1"), home.pid("mail-1")) == (web, mail)
    home.write(FLEET.replace("mail: {queues: [mail],", "mail: {queues: [mail], max_tasks_per_child: 7,")).up()
    assert home.pid("web-1") == web
    assert home.pid("mail-1") != mail
    assert home.status()["supervisor"]["pid"] == supervisor


def test_up_again_gives_forked_workers_the_settings_that_are_new(home: Home) -> None:
    home.write().up()
    more = FLEET.replace("mail: }", "mail: , fresh: }").replace("pools:", "default_queue: fresh\npools:")
    home.write(more.replace("web: {queues: [default],", "web: {queues: [fresh],")).up()
    assert home.send("add", "1", "2") == 3  # a worker with the old settings knows no queue "fresh"


def test_another_log_level_is_followed_by_up_and_replaces_only_the_pools_that_it_is_for(home: Home) -> None:
    quiet = FLEET + "logs: {level: warning}\n"
    home.write(quiet).up()
    home.send("add", "1", "1")
    assert "shop.add" not in home.log("web-1")
    before = home.pid("web-1"), home.pid("mail-1")
    home.write(quiet.replace("web: {", "web: {log_level: info, ")).up()
    home.send("add", "1", "1")
    assert "Task shop.add" in home.log("web-1")
    assert home.pid("web-1") != before[0]
    assert home.pid("mail-1") == before[1]


def test_a_fleet_of_the_same_name_in_another_folder_does_not_take_a_live_workers_tasks(home: Home) -> None:
    with redis_server() as socket:
        shared = FLEET.replace("app: shop\n", f"app: shop\nbroker: redis+socket://{socket}?virtual_host=0\n")
        home.write(shared).up()
        copy = Home(home.path / "copy")
        copy.path.mkdir()
        refused = copy.write(shared).run("up", "-d", "--wait", check=False)
        assert refused.returncode == 3
        assert refused.stderr == (
            f'error: a fleet named "shop" runs on this broker already, from {home.path}/fleet.yaml.\n'
            f"  Stop it with `celeryfleet -f {home.path}/fleet.yaml down`, or give this one another `name:`.\n"
        )
        home.run("down")
        assert copy.up().send("add", "1", "2") == 3
        copy.run("down")


def test_scale_changes_the_number_of_workers_down_to_none(home: Home) -> None:
    home.write().up()
    home.run("scale", "web=3", "mail=0")
    pools = {pool["name"]: (pool["want"], pool["ready"]) for pool in home.status()["pools"]}
    assert pools == {"web": (3, 3), "mail": (0, 0)}
    assert home.ready()


def test_two_fleets_side_by_side_do_not_touch_each_other(home: Home) -> None:
    home.write()
    (home.path / "other.yaml").write_text(FLEET.replace("name: shop", "name: other"))
    home.up()
    home.run("-f", "other.yaml", "up", "-d", "--wait")
    home.run("-f", "other.yaml", "send", "boom", "--no-wait")
    assert home.send("add", "1", "2") == 3
    first = home.status()
    home.run("-f", "other.yaml", "down")
    assert home.status()["pools"][0]["workers"][0]["pid"] == first["pools"][0]["workers"][0]["pid"]
    assert home.worker("web-1")["failed"] == 0


def test_two_ups_at_once_make_one_fleet(home: Home) -> None:
    home.write()
    both = [home.start("up", "-d", "--wait") for _ in range(2)]
    for process in both:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    supervisors = [command for command in home.processes().values() if "celeryfleet.supervise" in command]
    assert len(supervisors) == 1


def test_in_the_foreground_one_interrupt_stops_warmly_and_exits_0(home: Home) -> None:
    home.write()
    process = home.start("up")
    eventually(home.ready)
    home.post("until", "flag")
    eventually(lambda: "start flag" in home.trace())
    process.send_signal(signal.SIGINT)
    eventually(lambda: "stop mail-1" in home.log())
    (home.path / "flag").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert home.trace() == ["start flag", "end flag"]
    assert "mail-1     | " in output or "mail-1 " in output
    assert home.processes() == {}


def test_a_second_interrupt_stops_cold_and_the_task_is_kept(home: Home) -> None:
    home.write()
    process = home.start("up")
    eventually(home.ready)
    home.post("until", "flag")
    eventually(lambda: "start flag" in home.trace())
    process.send_signal(signal.SIGINT)
    eventually(lambda: "stop mail-1" in home.log())
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert home.trace() == ["start flag"]
    (home.path / "flag").touch()
    home.up()
    eventually(lambda: home.trace() == ["start flag", "start flag", "end flag"])


def test_a_terminal_that_is_killed_takes_its_fleet_with_it(home: Home) -> None:
    home.write()
    process = home.start("up")
    eventually(home.ready)
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not home.processes())


def test_term_hup_and_quit_to_the_supervisor(home: Home) -> None:
    home.write().up()
    supervisor, before = home.status()["supervisor"]["pid"], home.pid("web-1")
    os.kill(supervisor, signal.SIGHUP)
    eventually(lambda: home.worker("web-1")["pid"] not in (None, before))
    eventually(home.ready)
    assert home.status()["supervisor"]["pid"] == supervisor
    os.kill(supervisor, signal.SIGTERM)
    eventually(lambda: not home.processes())
    home.up()
    os.kill(home.status()["supervisor"]["pid"], signal.SIGQUIT)
    eventually(lambda: not home.processes())


def test_after_a_reload_of_broken_code_a_killed_worker_comes_back_on_the_old_code(home: Home) -> None:
    home.write().up()
    (home.path / "shop.py").write_text("import nothing_like_this\n")
    done = home.run("reload", check=False)
    assert done.returncode == 3
    assert "nothing_like_this" in done.stderr
    for _ in range(2):
        before = home.pid("web-1")
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: home.pid("web-1") != before)  # type: ignore[misc]
        eventually(lambda: home.worker("web-1")["state"] == "ready")
    assert home.status()["state"] == "degraded"
    told = home.run("status").stdout
    assert "ModuleNotFoundError: No module named 'nothing_like_this'" in told
    assert "See `celeryfleet logs preload`. Workers go on with older code." in told
    assert "celeryfleet logs preload" in home.run("health", check=False).stderr
    assert "nothing_like_this" in home.log("preload")
    home.write()
    home.run("reload")
    assert home.send("add", "1", "1") == 2
    assert home.ready()


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV"),
        ("import os; os._exit(7)", "exited with code 7"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    ],
)
def test_a_fork_server_that_dies_in_its_own_imports_says_why(home: Home, code: str, ends: str) -> None:
    done = home.write(app=code).run("up", "-d", check=False)
    assert done.returncode == 3
    why = f"importing the app ends the fork server: it {'was ' if 'killed' in ends else ''}{ends}"
    assert why in done.stderr
    assert why in home.run("status").stdout
    assert why in home.run("health", check=False).stderr
    if "SEGV" in ends:
        assert 'shop.py", line 1 in <module>' in done.stderr
    home.write().up()


def test_beat_sends_what_is_due(home: Home) -> None:
    fleet = FLEET + "beat: {schedule: {often: {task: shop.until, every: 200ms, args: [flag]}}}\n"
    home.write(fleet)
    (home.path / "flag").touch()
    home.up()
    eventually(lambda: "end flag" in home.trace())


def test_config_as_text_shows_each_command(home: Home) -> None:
    home.write()
    assert "celery -A shop worker -Q mail -n mail-1@shop." in home.run("config", "--format", "text").stdout


def test_a_dry_run_says_what_would_be_done_and_does_nothing(home: Home) -> None:
    home.write()
    down = home.run("up", "--dry-run").stdout
    assert down == "start web-1: it is wanted\nstart mail-1: it is wanted\n"
    assert not (home.path / ".celeryfleet").exists()
    assert home.run("reload", "--dry-run", check=False).returncode == 3
    home.up("--scale", "web=2")
    pids = home.processes().keys()
    home.write(FLEET.replace("mail: {queues: [mail],", "mail: {queues: [mail], max_tasks_per_child: 7,"))
    found = json.loads(home.run("up", "--dry-run", "--json").stdout)
    assert found == {
        "schema_version": 1,
        "actions": [
            {"do": "scale", "what": "web", "because": "from 2 to 1 workers"},
            {"do": "keep", "what": "web-1", "because": "nothing of it changes"},
            {
                "do": "replace",
                "what": "mail-1",
                "because": "its definition changed: worker_max_tasks_per_child",
            },
            {"do": "stop", "what": "web-2", "because": "it is no longer wanted"},
        ],
    }
    home.write()
    read_anew = [f"replace {name}: the app is read anew" for name in ("web-1", "web-2", "mail-1")]
    assert home.run("reload", "--dry-run").stdout.splitlines() == read_anew
    assert home.processes().keys() == pids


def test_pools_that_are_named_are_brought_up_and_down_and_the_others_left_alone(home: Home) -> None:
    home.write().up("web")
    assert [pool["name"] for pool in home.status()["pools"]] == ["web"]
    web = home.pid("web-1")
    assert (
        home.run("up", "mail", "--dry-run").stdout
        == "start mail-1: it is wanted\nkeep 1 worker: nothing of it changes\n"
    )
    home.up("mail")
    assert home.ready()
    home.run("down", "mail")
    assert [(pool["name"], pool["ready"]) for pool in home.status()["pools"]] == [("web", 1)]
    assert home.pid("web-1") == web
    assert home.run("down", "mail", check=False).returncode == 2
    assert home.run("down", "web", "--purge", check=False).returncode == 2


def test_detached_without_waiting_an_app_that_does_not_import_still_exits_3(home: Home) -> None:
    done = home.write(app="import nothing_like_this\n").run("up", "-d", check=False)
    assert done.returncode == 3
    assert "nothing_like_this" in done.stderr
    done = home.write().run("up", "-d")
    assert done.stderr == "shop follows fleet.yaml as it is now; see `celeryfleet status`.\n"
    eventually(home.ready)
