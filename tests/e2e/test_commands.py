"""The commands as a stranger uses them: what they print, where, and how they exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.e2e.conftest import FLEET, Home
from tests.fakes import eventually, processes_of
from tests.servers import redis_server


@pytest.mark.parametrize(
    ("template", "words", "expected"),
    [
        ("demo", ["add", "4", "4"], 8),
        ("priorities", ["message", "low", "news", "--queue", "low"], "low: news"),
        ("app", ["send_mail", "bob"], "sent to bob"),
    ],
)
def test_a_fresh_template_runs_as_it_is(home: Home, template: str, words: list[str], expected: object) -> None:
    home.run("init", template)
    assert home.run("init", template, check=False).returncode == 2, "it must never overwrite"
    home.run("check", "--strict")
    home.up()
    assert home.send(*words) == expected


def test_a_failing_task_exits_1_with_its_error_and_traceback(home: Home) -> None:
    home.write().up()
    done = home.run("send", "boom", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ValueError: boom of the test" in done.stderr
    assert 'shop.py", line' in done.stderr
    failed = home.run("send", "boom", "--json", check=False)
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"] == "ValueError: boom of the test"
    assert home.worker("web-1")["failed"] == 2


def test_sending_what_nobody_would_run_is_refused(home: Home) -> None:
    home.write().up("--scale", "web=0")
    unread = home.run("send", "add", "1", "1", check=False)
    assert unread.returncode == 3
    assert "default, which no worker reads" in unread.stderr
    unknown = home.run("send", "ad", "1", "1", check=False)
    assert unknown.returncode == 2
    assert 'Did you mean "add"?' in unknown.stderr
    misspelt = home.run("send", "add", "1", "1", "--queue", "mial", check=False)
    assert misspelt.returncode == 2
    assert 'Did you mean "mail"?' in misspelt.stderr
    assert sum(queue["ready"] for queue in home.status()["queues"]) == 0
    home.run("send", "add", "1", "1", "--no-wait", "--force")
    assert sum(queue["ready"] for queue in home.status()["queues"]) == 1


def test_a_wait_that_times_out_exits_124_and_the_task_goes_on(home: Home) -> None:
    home.write().up()
    done = home.run("send", "until", "flag", "--timeout", "0.3", check=False)
    assert done.returncode == 124
    task = done.stderr.split("celeryfleet result ")[1].split()[0]
    (home.path / "flag").touch()
    eventually(lambda: home.run("result", task, check=False).stdout.strip() == "flag")


def test_a_canvas_names_the_task_that_failed(home: Home) -> None:
    home.write().up()
    assert home.run("canvas", "chain(add.s(4, 4), add.s(8))").stdout.strip() == "16"
    done = home.run("canvas", "chord([boom.s(), add.s(1, 1)], add.s(1))", check=False)
    assert done.returncode == 1
    assert "shop.boom" in done.stderr
    assert "ValueError: boom of the test" in done.stderr
    hostile = home.run("canvas", "__import__('os').system('true')", check=False)
    assert hostile.returncode == 2


def test_status_json_is_the_contract_to_the_letter(home: Home) -> None:
    home.write().up()
    home.send("add", "1", "1")
    found = home.status()
    assert list(found) == ["schema_version", "fleet", "state", "supervisor", "broker", "pools", "queues"]
    assert (found["schema_version"], found["fleet"], found["state"]) == (1, "shop", "ready")
    assert list(found["supervisor"]) == ["pid", "uptime_s"]
    assert found["broker"]["state"] == "up"
    pool = found["pools"][0]
    assert {key: pool[key] for key in ("name", "queues", "want", "ready")} == {
        "name": "web",
        "queues": ["default"],
        "want": 1,
        "ready": 1,
    }
    (worker,) = pool["workers"]
    assert worker["node"].startswith("web-1@shop.")
    assert worker["processed"] == 1, "status must be exact, right after a task"
    assert (worker["state"], worker["restarts"], worker["failed"], worker["last_exit"]) == ("ready", 0, 0, None)
    assert worker["rss_bytes"] > 10_000_000
    assert found["queues"][0] == {"name": "default", "ready": 0, "unacked": 0, "oldest_age_s": None, "consumers": 1}


def test_every_listing_has_json(home: Home) -> None:
    home.write()
    down = json.loads(home.run("ps", "--json").stdout)
    assert [(one["name"], one["state"]) for one in down["workers"]] == [("web-1", "stopped"), ("mail-1", "stopped")]
    home.up()
    status = home.status()
    for words in (["ps", "--json"], ["--profile", "any", "ps", "--json"]):  # without and with reading fleet.yaml
        found = json.loads(home.run(*words).stdout)
        assert list(found) == ["schema_version", "fleet", "workers"]
        assert [one.pop("pool") for one in found["workers"]] == ["web", "mail"]
        assert [list(one) for one in found["workers"]] == [list(pool["workers"][0]) for pool in status["pools"]]
        assert [one["pid"] for one in found["workers"]] == [home.pid("web-1"), home.pid("mail-1")]
    found = json.loads(home.run("queues", "--json").stdout)
    assert found == {"schema_version": 1, "fleet": "shop", "queues": status["queues"]}
    home.run("pause", "mail")
    eventually(lambda: consumers(home)["mail"] == 0)
    home.post("until", "x")
    assert json.loads(home.run("queues", "purge", "mail", "-y", "--json").stdout) == {"schema_version": 1, "dropped": 1}
    lines = [json.loads(line) for line in home.run("logs", "web", "--json").stdout.splitlines()]
    assert {tuple(line) for line in lines} == {("worker", "line")}
    assert {line["worker"] for line in lines} == {"web-1"}


@pytest.mark.parametrize("wrong", ["a variable is missing", "fleet.yaml is broken"])
def test_a_running_fleet_is_stopped_though_fleet_yaml_cannot_be_read(home: Home, wrong: str) -> None:
    home.write(FLEET.replace("30s", "'${GRACE}'"))
    home.env["GRACE"] = "30s"
    home.up()
    if wrong == "a variable is missing":
        del home.env["GRACE"]
    else:
        home.write("pools: [\n")
    assert "web-1" in home.run("logs").stdout
    done = home.run("down")
    assert "shop is stopped." in done.stderr
    assert home.processes() == {}
    again = home.run("down", check=False)
    assert again.returncode == 2
    assert "fleet.yaml:" in again.stderr
    home.write()


def test_logs_of_a_worker_tell_why_it_came_and_went_and_those_of_a_task_its_whole_traceback(home: Home) -> None:
    home.write().up()
    sent = home.run("send", "boom", "--json", check=False).stdout
    task = json.loads(sent)["id"]
    home.run("restart", "web")
    shown = home.run("logs", "web-1").stdout
    told = [
        "start web-1: it is wanted",
        "web-1 is ready",
        "stop web-1: a restart",
        "web-1 has ended",
        "start web-1: a re",
    ]
    found = [line for line in shown.splitlines() for text in told if text in line]
    assert [text for line in found for text in told if text in line][:5] == told
    assert all(line.startswith("web-1 | ") for line in shown.splitlines())
    of_task = home.run("logs", "--task", task, "--no-log-prefix").stdout.splitlines()
    assert f"shop.boom[{task}] received" in of_task[0]
    assert "ValueError: boom of the test" in of_task
    assert "is ready" not in "".join(of_task)
    assert home.run("logs", "--grep", "boom of the", "--tail", "1", "--no-log-prefix").stdout != ""
    assert home.run("logs", "--grep", "no such text").stderr.endswith("matches.\n")
    for words, hint in ((["web-l"], "Did you mean"), (["--grep", "("], "no regular expression")):
        wrong = home.run("logs", *words, check=False)
        assert wrong.returncode == 2
        assert hint in wrong.stderr


def test_a_queue_shows_what_waits_and_for_how_long(home: Home) -> None:
    home.write().up()
    for name in ("one", "two", "three"):
        home.post("until", name)
    eventually(lambda: "start one" in home.trace())
    mail = next(queue for queue in home.status()["queues"] if queue["name"] == "mail")
    assert mail["ready"] + mail["unacked"] == 3
    assert mail["unacked"] >= 1
    for name in ("one", "two", "three"):
        (home.path / name).touch()


def test_health_is_0_when_ready_and_3_when_not(home: Home) -> None:
    home.write()
    assert home.run("health", check=False).returncode == 3
    home.up()
    assert home.run("health").stdout == "shop is ready: 2 of 2 workers\n"
    assert home.run("health", "web").returncode == 0
    assert home.run("health", "wbe", check=False).returncode == 2


def test_an_unreachable_broker_is_told_at_once_with_69(home: Home) -> None:
    home.write(FLEET + "broker: redis://:secret@127.0.0.1:1/0\n")
    for words in (["up", "-d"], ["send", "add", "1", "1"], ["canvas", "add.s(1, 1)"], ["result", "x"]):
        done = home.run(*words, check=False, timeout=8)
        assert done.returncode == 69, words
        assert "redis://:***@127.0.0.1:1/0" in done.stderr
        assert "secret" not in done.stderr + done.stdout
    assert home.processes() == {}


def test_a_mistyped_command_or_option_is_no_traceback(home: Home) -> None:
    home.write()
    for words in (["statsu"], ["up", "--detatch"], ["send"], ["up", "--wait-timeout", "soon"], ["down", "-t", "-5"]):
        done = home.run(*words, check=False)
        assert done.returncode == 2, words
        assert done.stderr.startswith("error: "), done.stderr
        assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_gets_question_marks_and_no_traceback(home: Home) -> None:
    home.write()
    done = home.run("status", env={"PYTHONIOENCODING": "ascii"})
    assert "? down" in done.stdout


def test_closed_streams_and_a_full_device_are_no_traceback(home: Home) -> None:
    home.write()
    command = f"{sys.executable} -m celeryfleet"
    for line, code in (
        (f"{command} status >&-", 0),
        (f"{command} status 2>&- <&-", 0),
        (f"{command} status > /dev/full", 1),
        (f"set -o pipefail; {command} --help | true", 0),
    ):
        done = subprocess.run(["bash", "-c", line], cwd=home.path, env=home.env, capture_output=True, text=True)
        assert done.returncode == code, (line, done.stderr)
        assert "Traceback" not in done.stderr


def test_queues_of_a_fleet_that_is_down_are_no_table_of_dashes(home: Home) -> None:
    done = home.write().run("queues", check=False)
    assert (done.returncode, done.stdout) == (69, "")


def test_pause_leaves_messages_in_the_queue_and_resume_has_them_done(home: Home) -> None:
    home.write().up()
    home.run("pause", "mail")
    eventually(lambda: consumers(home)["mail"] == 0)
    (home.path / "flag").touch()
    home.post("until", "flag")
    assert home.send("add", "1", "1") == 2
    home.run("resume")
    eventually(lambda: "end flag" in home.trace())


def test_a_queue_whose_consumer_is_cancelled_by_celery_control_is_read_again_and_a_paused_one_stays_so(
    home: Home,
) -> None:
    home.write().up()
    broker = json.loads(next((home.path / ".celeryfleet").glob("*/settings.json")).read_text())["broker_url"]
    celery = [sys.executable, "-m", "celery", "-b", broker, "control"]
    subprocess.run([*celery, "cancel_consumer", "mail"], env=home.env, cwd=home.path, check=True, capture_output=True)
    eventually(lambda: "mail-1: resume mail, which somebody else has cancelled" in home.log())
    eventually(lambda: consumers(home) == {"default": 1, "mail": 1})
    eventually(home.ready)
    home.run("pause", "mail")
    subprocess.run([*celery, "add_consumer", "mail"], env=home.env, cwd=home.path, check=True, capture_output=True)
    eventually(lambda: "web-1: pause mail, which somebody else has added" in home.log())
    eventually(lambda: consumers(home) == {"default": 1, "mail": 0})


def test_a_paused_queue_stays_paused_over_a_killed_supervisor_and_over_down_and_up(home: Home) -> None:
    home.write().up()
    home.run("pause", "mail")
    eventually(lambda: consumers(home)["mail"] == 0)
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    home.up()
    assert consumers(home) == {"default": 1, "mail": 0}
    home.run("down")
    (home.path / "flag").touch()
    again = home.run("up", "-d", "--wait").stderr
    assert "Still paused: mail. Go on: celeryfleet resume" in again
    home.post("until", "flag")
    assert home.send("add", "1", "1") == 2
    assert (consumers(home)["mail"], home.trace()) == (0, [])
    home.run("resume")
    eventually(lambda: "end flag" in home.trace())
    home.run("down")
    assert "paused" not in home.run("up", "-d", "--wait").stderr


def consumers(home: Home) -> dict[str, int]:
    return {queue["name"]: queue["consumers"] for queue in home.status()["queues"]}


def test_scale_gives_up_waiting_after_its_timeout_and_health_is_0_while_surplus_workers_stop(home: Home) -> None:
    home.write().up("--scale", "mail=2")
    for name in ("flag", "flag"):
        home.post("until", name)
    eventually(lambda: home.trace() == ["start flag", "start flag"])
    late = home.run("scale", "mail=1", "--timeout", "0.1", check=False)
    assert (late.returncode, late.stderr.splitlines()[0]) == (
        124,
        "error: 1 of 1 workers are ready after 0.1 s; mail-2 finishes its tasks.",
    )
    assert home.run("health").stdout == "shop is ready: 2 of 2 workers\n"
    assert home.status()["state"] == "ready"
    (home.path / "flag").touch()
    home.run("scale", "mail=1", "-t", "30")
    assert home.trace().count("end flag") == 2
    assert home.run("scale", "mail=1", "-t", "-1", check=False).returncode == 2


def test_health_is_3_while_the_broker_is_away_and_says_so(home: Home) -> None:
    with redis_server() as path:
        home.write(FLEET + f"broker: redis+socket://{path}\n").up()
        server = next(pid for pid, command in processes_of(path.parent).items() if "-server" in command)
        os.kill(server, signal.SIGSTOP)
        hung = home.run("health", check=False)
        assert (hung.returncode, hung.stderr) == (3, f"the broker cannot be reached: {path}: no answer within 2 s\n")
        os.kill(server, signal.SIGKILL)
        for words in ([], ["mail"]):
            away = home.run("health", *words, check=False)
            assert away.returncode == 3
            assert "the broker cannot be reached" in away.stderr or "mail-1 cannot reach the broker" in away.stderr
        assert home.status()["state"] == "degraded"


def test_credentials_are_shown_as_the_variable_they_came_from(home: Home) -> None:
    home.write(FLEET + "broker: redis://:${SECRET}@127.0.0.1:1/0\n")
    shown = home.run("config", "--format", "text", env={"SECRET": "hunter2"}).stdout
    assert "redis://:${SECRET}@127.0.0.1:1/0" in shown
    shown += home.run("config", env={"SECRET": "hunter2"}).stdout
    assert "hunter2" not in shown


def test_every_error_of_a_file_is_told_at_once(home: Home) -> None:
    pools = "  web: {queues: [defualt], concurency: 2}\n  mail: {queues: [default], concurrency: 0}\n"
    home.write(f"queues: {{default: }}\npools:\n{pools}")
    done = home.run("check", check=False)
    assert done.returncode == 2
    assert "fleet.yaml:3:" in done.stderr
    assert "fleet.yaml:4:" in done.stderr
    assert 'Did you mean "default"?' in done.stderr
    assert 'Did you mean "concurrency"?' in done.stderr


def test_config_in_python_needs_no_celeryfleet_and_routes_the_same(home: Home) -> None:
    home.write()
    module = home.run("config").stdout
    assert not [line for line in module.splitlines() if "import" in line and "celeryfleet" in line]
    scope: dict[str, object] = {}
    exec(compile(module, "celeryconfig.py", "exec"), scope)
    routed = json.loads(home.run("route", "until", "--json").stdout)
    assert routed["queue"] == "mail"
    assert scope["task_default_queue"] == "default"
