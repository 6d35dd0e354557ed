"""`up --watch`, which reloads when code or fleet.yaml changes, and `reload` of code that does not import."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually

#: the task `add` of another version of the code
NEWER = APP.replace("return a + b", "return 10 * (a + b)")


def test_changes_of_code_and_fleet_yaml_are_followed_and_broken_ones_leave_the_workers_alone(
    home: Home, tmp_path: Path
) -> None:
    home.write()
    (tmp_path / "extra.env").write_text("GRACE=30s\n")
    process = home.start("--env-file", str(tmp_path / "extra.env"), "up", "--watch")
    eventually(home.ready)
    before = home.pid("web-1")

    home.write(app="def (:\n")
    eventually(lambda: "fails to import at shop.py:1: SyntaxError" in home.log())
    assert home.pid("web-1") == before
    home.write(app=NEWER)
    eventually(lambda: home.worker("web-1")["pid"] not in (None, before))
    eventually(home.ready)
    assert home.send("add", "1", "1") == 20

    before = home.pid("web-1")
    (home.path / "fleet.yaml").write_text(FLEET.replace("30s", "'${GRACE}'"))
    eventually(lambda: home.worker("web-1")["pid"] not in (None, before))
    eventually(home.ready)
    for grace in ("31s", "32s"):  # replaced, as editors do
        before = home.pid("web-1")
        (tmp_path / "new.env").write_text(f"GRACE={grace}\n")
        (tmp_path / "new.env").replace(tmp_path / "extra.env")
        eventually(lambda before=before: home.worker("web-1")["pid"] not in (None, before))  # type: ignore[misc]
        eventually(home.ready)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert "shop.py changed: reloading" in shown
    assert home.processes() == {}


def test_a_broken_fleet_yaml_is_told_with_its_place_and_the_next_change_is_tried_again(home: Home) -> None:
    home.write()
    process = home.start("up", "web", "--watch")
    eventually(home.ready)
    before = home.pid("web-1")
    (home.path / "fleet.yaml").write_text(FLEET.replace("queues: [default]", "queues: [defualt]"))
    assert process.stdout is not None
    lines: list[str] = []
    while not any(line.startswith("The workers go on") for line in lines):
        lines.append(process.stdout.readline())
        assert lines[-1], "the terminal ended"
    assert "fleet.yaml changed: reloading\n" in lines
    assert 'pool "web" reads the unknown queue "defualt"' in "".join(lines)
    assert "error: fleet.yaml:9:" in "".join(lines)
    assert home.pid("web-1") == before
    (home.path / "fleet.yaml").write_text(FLEET)
    eventually(lambda: home.worker("web-1")["pid"] not in (None, before))
    assert [pool["name"] for pool in home.status()["pools"]] == ["web"], "mail was not asked for"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_a_reload_of_code_that_does_not_import_leaves_workers_that_are_not_forked_alone(home: Home) -> None:
    home.write(FLEET + "preload: false\n").up()
    before = home.pid("web-1")
    home.write(FLEET + "preload: false\n", APP + "\n1 / 0\n")
    done = home.run("reload", check=False)
    assert done.returncode == 3
    assert f"fails to import at shop.py:{APP.count(chr(10)) + 2}: ZeroDivisionError" in done.stderr
    assert home.pid("web-1") == before
    home.write(FLEET + "preload: false\n", NEWER)
    home.run("reload")
    assert home.send("add", "1", "1") == 20


def test_what_watching_needs_is_said_and_that_it_takes_a_terminal(home: Home) -> None:
    home.write()
    refused = home.run("up", "-d", "--watch", check=False)
    assert (refused.returncode, refused.stderr.splitlines()[0]) == (
        2,
        "error: not supported: --watch in the background.",
    )
    without = "import sys; sys.modules['watchfiles'] = None; from celeryfleet.cli.entry import main; main()"
    argv = [sys.executable, "-c", without, "up", "--watch"]
    done = subprocess.run(argv, cwd=home.path, env=home.env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "celeryfleet[watch]"' in done.stderr
    assert home.processes() == {}
