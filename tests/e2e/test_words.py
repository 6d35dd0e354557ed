"""What people type: names that are misspelt, and the words that a shell completes."""

from __future__ import annotations

import json
import re

from tests.e2e.conftest import APP, FLEET, Home
from tests.fakes import eventually

CANVASES = "canvases: {double: 'add.s(1, 1)'}\n"


def test_each_command_that_takes_a_name_guesses_what_was_meant(home: Home) -> None:
    home.write(FLEET + CANVASES).up()
    for words, meant in (
        ("send ad 1 2", "add"),
        ("send add 1 2 --queue mial", "mail"),
        ("canvas doubel", "double"),
        ("canvas ad.s(1,2)", "add"),
        ("health wbe", "web"),
        ("up wbe", "web"),
        ("down wbe", "web"),
        ("scale wbe=2", "web"),
        ("restart wbe", "web"),
        ("pause mial", "mail"),
        ("resume mial", "mail"),
        ("queues purge mial", "mail"),
        ("route add --queue mial", "mail"),
    ):
        done = home.run(*words.split(), check=False)
        assert done.returncode == 2, words
        assert f'Did you mean "{meant}"?' in done.stderr, (words, done.stderr)


def test_numbers_below_zero_are_arguments_and_other_options_are_not(home: Home) -> None:
    home.write().up()
    assert home.send("add", "-4", "4") == 0
    assert home.send("add", "-1.5", "b=-0.5") == -2
    assert (
        json.loads(home.run("send", "--timeout", "30", "add", "--json", "-1.0e+1", "--", "-5").stdout)["result"] == -15
    )
    assert json.loads(home.run("route", "add", "-4", "--json").stdout)["queue"] == "default"
    assert home.run("run", "add", "-4", "3").stdout == "-1\n"
    wrong = home.run("send", "add", "-x", "4", check=False)
    assert wrong.returncode == 2
    assert "celeryfleet send has no option -x" in wrong.stderr
    priority = home.run("send", "add", "1", "2", "--priority", "-1", check=False)
    assert priority.returncode == 2
    assert "--priority" in priority.stderr


EVENTS = FLEET.replace("mail: }", 'mail: , events: {exchange: {name: news, type: topic}, routing_key: "order.#"}}')


def test_a_task_is_sent_to_an_exchange_and_told_which_queue_took_it(home: Home) -> None:
    home.write(EVENTS.replace("[default]", "[default, events]")).up()
    words = ["send", "add", "1", "2", "--json", "--exchange"]
    done = json.loads(home.run(*words, "news", "--routing-key", "order.new", "--timeout", "30").stdout)
    assert (done["queue"], done["result"]) == ("events", 3)
    misspelt = home.run(*words, "nws", check=False)
    assert (misspelt.returncode, 'Did you mean "news"?' in misspelt.stderr) == (2, True)
    lost = home.run(*words, "news", "--routing-key", "nothing", check=False)
    assert lost.returncode == 2
    assert lost.stderr.startswith("error: shop.add would go nowhere: no queue takes what goes to the exchange "), lost
    assert home.worker("web-1")["processed"] == 1
    many = home.run(*words, "news", "--routing-key", "order.x", "--count", "20", "--no-wait")
    assert json.loads(many.stdout)["sent"] == 20
    eventually(lambda: home.worker("web-1")["processed"] == 21)


def test_any_name_has_a_route_with_or_without_a_dot(home: Home) -> None:
    home.write()
    for name in ("nothing", "no.such", "ad"):
        done = home.run("route", name)
        assert done.stdout.startswith(f"{name} → default\n")
        assert f'note: No task is called "{name}".' in done.stderr
    assert 'Did you mean "add"?' in done.stderr


def test_a_paused_queue_is_said_wherever_tasks_would_wait_in_it(home: Home) -> None:
    home.write().up().run("pause", "mail")
    paused = "mail is paused"
    for words, code in (
        ("send until x --timeout 0.1", 124),
        ("send until x --count 2 --no-wait", 0),
        ("canvas until.s('x') --timeout 0.1", 124),
    ):
        done = home.run(*words.split(), check=False)
        assert done.returncode == code, done.stderr
        assert f"{paused}: shop.until waits there until it is resumed. Go on: celeryfleet resume mail" in done.stderr
    assert paused not in home.run("send", "add", "1", "2").stderr
    routed = home.run("route", "until")
    assert f"workers    none: {paused}. Go on: celeryfleet resume mail" in routed.stdout
    assert json.loads(home.run("route", "until", "--json").stdout)["workers"] == []
    for words in ("status", "queues"):
        assert re.search(r"^mail .* paused$", home.run(words).stdout, re.MULTILINE), words


def test_a_task_that_is_newer_than_the_workers_names_reload_as_the_next_step(home: Home) -> None:
    home.write().up().write(app=APP + "\n\n@app.task\ndef fresh():\n    return 1\n")
    done = home.run("send", "fresh", "--timeout", "30", check=False)
    assert done.returncode == 1
    assert "The code of the workers has no such task" in done.stderr
    assert "celeryfleet reload" in done.stderr
    home.run("reload")
    assert home.send("fresh") == 1


def test_the_run_and_the_wait_are_told_apart(home: Home) -> None:
    home.write().up()
    home.post("until", "flag", "--queue", "default")
    eventually(lambda: home.trace() == ["start flag"])
    sending = home.start("send", "add", "1", "2", "--json", "--timeout", "60")
    eventually(lambda: home.status()["queues"][0]["ready"] == 1)
    (home.path / "flag").touch()
    out, _ = sending.communicate(timeout=60)
    done = json.loads(out)
    assert 0 <= done["runtime_s"] < done["wait_s"] < done["took_s"]
    shown = home.run("send", "add", "1", "2", "--timeout", "60").stderr
    assert re.fullmatch(r"✓ shop.add ran in [\d.]+ s on web-1 \(queue default, waited [\d.]+ s\)\n", shown), shown
    failed = json.loads(home.run("send", "boom", "--json", "--timeout", "60", check=False).stdout)
    assert failed["runtime_s"] is not None
    posted = json.loads(home.run("send", "add", "1", "2", "--json", "--no-wait").stdout)
    assert (posted["wait_s"], posted["runtime_s"], posted["took_s"]) == (None, None, None)


def test_without_a_ledger_the_whole_time_is_told_as_such(home: Home) -> None:
    home.write(FLEET + "ledger: false\n").up()
    done = home.run("send", "add", "1", "2", "--timeout", "60")
    assert re.fullmatch(r"✓ shop.add took [\d.]+ s with its wait on web-1 \(queue default\)\n", done.stderr), (
        done.stderr
    )
    told = json.loads(home.run("send", "add", "1", "2", "--json", "--timeout", "60").stdout)
    assert (told["wait_s"], told["runtime_s"]) == (None, None)
    assert told["took_s"] > 0
