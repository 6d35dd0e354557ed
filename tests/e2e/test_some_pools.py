"""Some pools of a running fleet, started, stopped and mended while the others go on."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually

#: a queue and a pool more, and a setting that concerns every worker
LARGER = FLEET.replace("mail: }", "mail: , video: }") + "  video: {queues: [video]}\n"
BROKEN = APP + "\n\n1 / 0\n"


def pids(home: Home) -> dict[str, int]:
    """Return the live workers."""
    return {w["name"]: w["pid"] for pool in home.status()["pools"] for w in pool["workers"] if w["pid"]}


def test_up_and_down_of_a_pool_leave_the_others_alone_also_where_queues_have_changed(home: Home) -> None:
    home.write().run("up", "-d", "--wait", "web")
    web = pids(home)
    assert list(web) == ["web-1"]
    done = home.run("up", "-d", "--wait", "mail")
    assert "mail is ready: 1 worker" in done.stderr
    both = pids(home)
    assert both["web-1"] == web["web-1"]
    home.write(LARGER)
    assert "keep 2 workers" in home.run("up", "video", "--dry-run").stdout
    home.up("video")
    assert {name: pid for name, pid in pids(home).items() if name != "video-1"} == both
    assert home.send("add", "1", "1") == 2
    assert home.run("down", "mail").stderr == "mail is stopped.\n"
    assert pids(home).keys() == {"web-1", "video-1"}
    assert pids(home)["web-1"] == both["web-1"]
    home.up()
    assert pids(home)["web-1"] != both["web-1"], "a plain `up` brings all to what fleet.yaml says"
    assert [w["restarts"] for pool in home.status()["pools"] for w in pool["workers"]] == [0, 0, 0]


def test_up_of_a_pool_does_not_wait_for_another_that_fails(home: Home) -> None:
    restart = "mail: {restart: {max_restarts: 0, window: 5m}, "
    home.write(FLEET.replace("mail: {queues: [mail],", restart + "queues: [mail],")).up()
    home.run("send", "until", "flag", "--no-wait")
    os.kill(home.pid("mail-1"), signal.SIGKILL)
    eventually(lambda: home.worker("mail-1")["state"] == "failed")
    home.up("web")
    home.run("restart", "web")
    home.run("scale", "web=2")
    assert home.worker("mail-1")["state"] == "failed"
    (home.path / "flag").touch()


def test_a_pool_is_stopped_cold_within_a_time(home: Home) -> None:
    home.write().up()
    home.post("until", "flag")
    eventually(lambda: home.trace() == ["start flag"])
    home.run("down", "mail", "-t", "0")
    assert pids(home).keys() == {"web-1"}
    (home.path / "flag").touch()
    home.up("mail")
    eventually(lambda: home.trace() == ["start flag", "start flag", "end flag"])
    home.run("down", "web", "mail")
    assert home.processes() == {}, "with the last pool the fleet stops"
    assert home.run("down", "wbe", check=False).returncode == 2


def test_a_second_terminal_stops_the_pools_that_it_started_and_no_others(home: Home) -> None:
    home.write()
    first = home.start("up", "web")
    eventually(home.ready)
    second = home.start("up", "mail")
    eventually(lambda: pids(home).keys() == {"web-1", "mail-1"})
    home.post("until", "flag")
    eventually(lambda: home.trace() == ["start flag"])
    second.send_signal(signal.SIGINT)
    eventually(lambda: "stop mail-1" in home.log())
    second.send_signal(signal.SIGINT)
    shown, _ = second.communicate(timeout=60)
    assert second.returncode == 0, shown
    assert "shop was running; this terminal shows the logs of mail, and Ctrl-C stops mail." in shown
    assert "stopping cold" in shown
    assert pids(home).keys() == {"web-1"}
    third = home.start("up", "mail")
    eventually(lambda: pids(home).keys() == {"web-1", "mail-1"})
    (home.path / "flag").touch()
    home.run("down", "mail")
    shown, _ = third.communicate(timeout=60)
    assert third.returncode == 0, "it has nothing more to show"
    first.send_signal(signal.SIGINT)
    shown, _ = first.communicate(timeout=60)
    assert first.returncode == 0, shown
    assert home.processes() == {}


@pytest.mark.parametrize("preload", ["auto", "false"])
def test_up_in_the_background_says_why_and_where_the_app_does_not_import(home: Home, preload: str) -> None:
    home.write(FLEET + f"preload: {preload}\n", BROKEN)
    done = home.run("up", "-d", check=False)
    assert done.returncode == 3
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert f"fails to import at shop.py:{BROKEN.count(chr(10))}: Zero" in " ".join(done.stderr.split())
    assert "1 / 0" in done.stderr
    assert home.run("up", "--no-wait").returncode == 0
    assert home.run("up", "--no-wait", "--wait", check=False).returncode == 2


@pytest.mark.parametrize("words", ["up -d --wait", "restart", "restart web mail", "reload"])
def test_whatever_is_suggested_works_once_the_code_is_mended(home: Home, words: str) -> None:
    home.write(app=BROKEN)
    home.run("up", "-d", check=False)
    shown = home.run("status").stdout
    assert f"celeryfleet {words}" in " ".join(shown.split()) or words in ("up -d --wait", "restart")
    assert home.run(*words.split(), check=False).returncode == 3
    home.write()
    home.run(*words.split())
    assert home.send("add", "1", "1") == 2
    assert home.ready()
