"""`celeryfleet route`: what it prints of one task and of all, and what it says of a wrong question."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APP = """
from celery import Celery

app = Celery("shop")


class Router:
    def route_for_task(self, task, args=None, kwargs=None):
        if task == "shop.argued":
            return {"queue": args[0]}
        return {"queue": "video"} if task == "shop.routed" else None


def lost(name, args, kwargs, options, task=None):
    return "ghost"


not_a_router = 5


@app.task
def add(a, b): ...


@app.task(queue="video", priority=3)
def own(): ...


@app.task(name="mail:welcome")
def welcome(): ...


@app.task(name="order.created")
def created(): ...


@app.task(name="shop.routed")
def routed(): ...


@app.task(name="shop.argued")
def argued(queue): ...


@app.task(name="lonely.x")
def lonely(): ...
"""

FLEET = """
name: shop
app: shop
broker: redis://127.0.0.1:1
queues:
  default:
  video: {max_priority: 9}
  mail:
  nobody:
  orders: {exchange: {name: events, type: topic}, routing_key: "order.#"}
routes:
  - {router: celeryfleet.routers.namespace}
  - {task: "order.*", exchange: events, routing_key: order.created}
  - {task: "lonely.?", queue: nobody, priority: 9}
  - {regex: "nothing(at|all)", queue: mail}
  - {task: more, queue: mail}
  - {task: "m[ao]re", queue: mail}
  - {router: shop.Router}
  - {task: "shop.*", queue: video}
pools:
  web: {queues: [default, mail], replicas: 2}
  io: {queues: [orders, video]}
tasks: {greet: "mail:welcome"}
"""


class Shop:
    """A folder with a fleet, and `route` in it."""

    columns = 80

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "fleet.yaml").write_text(FLEET.lstrip("\n"))
        (path / "shop.py").write_text(APP)

    def replace(self, old: str, new: str) -> Shop:
        """Change fleet.yaml."""
        text = (self.path / "fleet.yaml").read_text()
        assert old in text
        (self.path / "fleet.yaml").write_text(text.replace(old, new))
        return self

    def run(self, *words: str, command: str = "route") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "celeryfleet", command, *words],
            cwd=self.path,
            env={**os.environ, "COLUMNS": str(self.columns)},
            capture_output=True,
            text=True,
            check=False,
        )

    def says(self, *words: str) -> str:
        """Return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def document(self, *words: str) -> Any:
        return json.loads(self.says(*words, "--json"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_it_says_the_route_the_target_and_who_takes_it(shop: Shop) -> None:
    assert shop.says("created") == (
        "order.created → orders\n"
        '  rule       fleet.yaml:12 task: "order.*", exchange: events, routing_key:\n'
        "             order.created\n"
        "  exchange   events (topic), key order.created\n"
        "  priority   none, so it runs last (9 on the wire, where Redis has 0 first)\n"
        "  pools      io\n"
        "  passed     fleet.yaml:11 the name has no colon\n"
    )


def test_headers_of_a_call_decide_at_a_headers_exchange(shop: Shop) -> None:
    shop.replace("redis://127.0.0.1:1", "amqp://127.0.0.1:1")
    shop.replace("type: topic", "type: headers").replace('routing_key: "order.#"', "headers: {kind: new}")
    shop.replace(", routing_key: order.created", "")
    assert shop.document("created", "--header", "kind=new")["queues"] == ["orders"]
    assert shop.document("created", "--header", "kind=new")["headers"] == {"kind": "new"}
    assert shop.says("created", "--header", "kind=old", "--header", "n=3") == (
        "order.created → nowhere: sending it fails (NO_ROUTE)\n"
        '  rule       fleet.yaml:12 task: "order.*", exchange: events\n'
        '  besides    the call says headers=(kind=old, n="3")\n'
        '  exchange   events (headers), kind=old, n="3"; no queue of it wants such a\n'
        "             message\n"
        "  pools      none gets it\n"
        "  passed     fleet.yaml:11 the name has no colon\n"
    )
    done = shop.run("created", "--header", "task=x")
    assert (done.returncode, "is one of Celery's own" in done.stderr) == (2, True)


def test_many_routes_that_were_passed_over_are_counted_and_all_named_if_asked(shop: Shop) -> None:
    assert shop.says("own") == (
        "shop.own → video\n"
        '  rule       none: the task\'s own code says queue="video", priority=3\n'
        "  exchange   video (direct), key video\n"
        "  priority   6 of 9, and 9 runs first (3 on the wire, where Redis has 0 first)\n"
        "  pools      io\n"
        "  passed     fleet.yaml:11 the name has no colon\n"
        '             fleet.yaml:12 the name does not match the glob "order.*"\n'
        '             fleet.yaml:13 the name does not match the glob "lonely.?"\n'
        '             fleet.yaml:14 the name does not match the regex "nothing(at|all)"\n'
        '             fleet.yaml:18 it matches, but the queue "video" in the task\'s own\n'
        "             code goes before it\n"
        "             … and 3 more; --verbose names them\n"
    )
    assert "fleet.yaml:17 the router shop.Router returned None" in shop.says("own", "--verbose")


def test_the_table_has_a_line_for_each_task_and_fits_the_terminal(shop: Shop) -> None:
    done = shop.run("--all")
    assert done.stdout == (
        "TASK           QUEUE   EXCHANGE              PRIORITY  ROUTE          POOLS\n"
        "lonely.x       nobody  –                            9  fleet.yaml:13  nobody\n"
        "mail:welcome   mail    –                            –  fleet.yaml:11  web\n"
        "order.created  orders  events order.created         –  fleet.yaml:12  io\n"
        "shop.add       video   –                            –  fleet.yaml:18  io\n"
        "shop.argued    ?       –                            –  it fails       –\n"
        "shop.own       video   –                            6  its code       io\n"
        "shop.routed    video   –                            –  fleet.yaml:17  io\n"
    )
    assert "1 task goes where no pool reads." in done.stderr
    assert 'the router "shop.Router" fails for shop.argued: IndexError' in done.stderr


@pytest.mark.parametrize("columns", [40, 60, 70, 80])
def test_a_narrow_table_keeps_namespaces_and_does_not_overflow(shop: Shop, columns: int) -> None:
    app = (shop.path / "shop.py").read_text()
    long = "".join(
        f'\n\n@app.task(name="{name}")\ndef {name[:2]}_(): ...\n' for name in ("order:paid", "st7-mail:digest")
    )
    (shop.path / "shop.py").write_text(app + long)
    text = (shop.path / "fleet.yaml").read_text()
    text = text.replace("  nobody:\n", "  nobody:\n  order:\n  st7-mail:\n  a-queue-with-a-rather-long-name:\n")
    text = text.replace("queue: nobody", "queue: a-queue-with-a-rather-long-name")
    (shop.path / "fleet.yaml").write_text(text)
    shop.columns = columns
    head, *rows = shop.says("--all").splitlines()
    assert max(map(len, [head, *rows])) <= columns
    assert head.startswith("TASK ")
    assert not any(row.startswith(" ") for row in rows)
    names = [row.split()[0] for row in rows]
    if columns >= 60:
        assert {"order:paid", "st7-mail:digest", "mail:welcome"} <= set(names)
    else:
        assert all("…" in row for row in rows if row.startswith(("st7", "lonely")))


def test_without_confirms_rabbitmq_drops_what_no_queue_takes(shop: Shop) -> None:
    shop.replace("redis://", "amqp://").replace("routing_key: order.created", "routing_key: bill.paid")
    shop.replace("tasks: {", "celery: {broker_transport_options: {confirm_publish: false}}\ntasks: {")
    assert shop.says("created").startswith("order.created → nowhere: it is lost\n")


@pytest.mark.parametrize(
    ("broker", "told", "cell"), [("redis", "it is lost", "lost"), ("amqp", "sending it fails (NO_ROUTE)", "NO_ROUTE")]
)
def test_what_no_queue_takes_is_lost_on_redis_and_an_error_of_the_sender_on_rabbitmq(
    shop: Shop, broker: str, told: str, cell: str
) -> None:
    shop.replace("redis://", f"{broker}://").replace("routing_key: order.created", "routing_key: bill.paid")
    assert shop.says("created").startswith(f"order.created → nowhere: {told}\n")
    row = next(row for row in shop.says("--all").splitlines() if row.startswith("order.created"))
    assert row.split()[1] == cell


def test_the_documents_of_all_tasks_are_those_of_each(shop: Shop) -> None:
    document = shop.document("--all")
    routes = {route["task"]: route for route in document["routes"]}
    assert document["schema_version"] == 1
    assert {"schema_version": 1, **routes["order.created"]} == shop.document("created")
    assert "IndexError" in routes["shop.argued"]["error"]


def test_a_call_may_have_options_of_its_own(shop: Shop) -> None:
    found = shop.document("add", "--queue", "mail", "--priority", "4", "--routing-key", "x")
    assert (found["queue"], found["priority"], found["wire_priority"], found["rule"]) == ("mail", 4, 5, None)
    assert found["because"] == 'the call says queue="mail", routing_key="x", priority=4'
    assert found["passed_over"][-1]["why"] == 'it matches, but the queue "mail" was asked for'
    assert shop.document("add", "--exchange", "events", "--routing-key", "order.x")["queues"] == ["orders"]


def test_a_router_is_asked_with_the_arguments(shop: Shop) -> None:
    assert shop.document("argued", "mail")["queue"] == "mail"


def test_an_alias_stands_for_its_task_and_who_runs_nothing_has_no_workers(shop: Shop) -> None:
    found = shop.document("greet")
    assert (found["task"], found["queue"], found["workers"]) == ("mail:welcome", "mail", None)


def test_a_full_name_that_is_not_registered_is_routed_and_said(shop: Shop) -> None:
    done = shop.run("mail:welcom")
    assert done.stdout.startswith("mail:welcom → mail\n")
    assert 'note: No task is called "mail:welcom". Did you mean "mail:welcome"?' in done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["add", "--queue", "vidoe"], 'the queue "vidoe" is unknown.\n  Did you mean "video"?'),
        (["add", "--exchange", "event"], 'there is no exchange "event".\n  Did you mean "events"?'),
        ([], "which task?\n  `celeryfleet route TASK`, or --all"),
        (["add", "--all"], "--all goes without a task and without options."),
        (["argued"], 'fleet.yaml:17:6: the router "shop.Router" fails for shop.argued: IndexError: '),
    ],
)
def test_a_wrong_question_is_answered_with_what_to_do(shop: Shop, words: list[str], error: str) -> None:
    done = shop.run(*words)
    assert done.returncode == 2
    assert error in done.stderr


@pytest.mark.parametrize(
    ("router", "error"),
    [
        ("shop.Roter", 'fleet.yaml:17:6: the router "shop.Roter" cannot be imported: AttributeError'),
        ("no.such.Router", 'fleet.yaml:17:6: the router "no.such.Router" cannot be imported: ModuleNotFoundError'),
        ("shop.not_a_router", 'fleet.yaml:17:6: "shop.not_a_router" is no router, but int.'),
    ],
)
@pytest.mark.parametrize("words", [("route", "add"), ("check",), ("tasks",)])
def test_a_bad_router_path_is_an_error_at_once(shop: Shop, words: tuple[str, ...], router: str, error: str) -> None:
    done = shop.replace("shop.Router", router).run(*words[1:], command=words[0])
    assert done.returncode == 2
    assert error in done.stdout + done.stderr


def test_a_router_that_names_an_unknown_queue_is_told_of(shop: Shop) -> None:
    done = shop.replace("shop.Router", "shop.lost").run("add")
    assert done.returncode == 2
    assert 'fleet.yaml:17:6: the queue "ghost", which the router shop.lost names, is unknown.' in done.stderr
