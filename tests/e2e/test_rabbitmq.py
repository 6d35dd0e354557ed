"""Real fleets on a real RabbitMQ."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from celeryfleet.client.broker import measure_by_declaring, opened
from celeryfleet.protocol import Backlog
from tests.e2e.conftest import APP, Home
from tests.fakes import eventually
from tests.machine_services import Rabbit, lacking
from tests.machine_services import rabbit as rabbit_server

TASKS = (
    APP
    + '''

from celery.exceptions import Reject


@app.task
def note(word):
    """Write a word down."""
    with (here / "trace").open("a") as trace:
        trace.write(f"{word}\\n")


@app.task(bind=True, max_retries=1)
def again(self):
    """Fail at first."""
    note(f"again {self.request.retries}")
    if not self.request.retries:
        raise self.retry(countdown=1)


@app.task(bind=True, acks_late=True)
def poison(self):
    """Be no task for anyone."""
    raise Reject("poison", requeue=False)
'''
)


@pytest.fixture
def rabbit() -> Iterator[Rabbit]:
    with rabbit_server() as found:
        yield found


@pytest.fixture
def delays(rabbit: Rabbit) -> Iterator[None]:
    """Take away what Celery declares for delays, unless it was there before."""
    names = ["celery_delayed_delivery", *(f"celery_delayed_{level}" for level in range(28))]
    with opened(rabbit.url) as connection:
        known = [name for name in names if _is_there(connection, name)]
        yield
        for name in set(names).difference(known):
            with connection.channel() as channel:
                channel.queue_delete(name)
                channel.exchange_delete(name)


def _is_there(connection: Any, exchange: str) -> bool:
    try:
        connection.channel().exchange_declare(exchange, "topic", passive=True)
    except connection.channel_errors:
        return False
    return True


def _write(home: Home, rabbit: Rabbit, queues: str, more: str = "") -> None:
    """Write a fleet; `$name` in the texts is the test's own name of a queue or an exchange."""
    celery = "" if "celery:" in more else "celery: {result_expires: 60}"  # as long as a reply queue stays
    text = f"name: {rabbit.fleet}\napp: shop\nbroker: {rabbit.url}\nqueues:\n{queues}\n{more}\n{celery}\n"
    home.write(_named(rabbit, text), TASKS)


def _named(rabbit: Rabbit, text: str) -> str:
    for word in ("default", "mail", "video", "events", "dead", "gone"):
        text = text.replace(f"${word}", rabbit.name(word))
        rabbit.name(f"{word}.topic")
    return text


def _ready(count: int) -> dict[str, Any]:
    return {"ready": count, "unacked": None, "oldest_age_s": None}


def _queues(home: Home) -> dict[str, int]:
    return {queue["name"]: queue["ready"] for queue in home.status()["queues"]}


#: sends more tasks for later than a worker takes ahead, then some for now
PRODUCER = """
import sys
import celeryfleet, shop
celeryfleet.install(shop.app)
for number in range(6):
    shop.note.apply_async((f"late {number}",), countdown=3, queue=sys.argv[1] if number % 2 else None)
shop.note.delay("now")
shop.again.delay()
"""
PLAIN = "  $default:\n  $mail: {max_length: 5000}"
TWO = """default_queue: $default
routes: [{task: shop.until, queue: $mail}]
celery: {task_acks_late: true, task_reject_on_worker_lost: true, result_expires: 60}
pools:
  web: {queues: [$default]}
  mail: {queues: [$mail], replicas: 2, prefetch_multiplier: 1}
"""


def test_a_fleet_works_and_its_queues_are_seen_purged_and_paused(rabbit: Rabbit, home: Home) -> None:
    _write(home, rabbit, PLAIN, TWO)
    home.up()
    assert home.send("add", "2", "3") == 5
    mail = rabbit.name("mail")
    home.run("pause", mail)
    eventually(lambda: all(q["consumers"] == 0 for q in home.status()["queues"] if q["name"] == mail))
    home.run("send", "until", "never", "--no-wait", "--force", "--count", "3")
    assert _queues(home) == {rabbit.name("default"): 0, mail: 3}
    assert "dropped 3 messages." in home.run("queues", "purge", mail, "-y").stderr
    home.run("resume")
    (home.path / "now").touch()
    assert home.send("until", "now") == "now"
    home.run("down")
    assert _queues(home) == {rabbit.name("default"): 0, mail: 0}  # a RabbitMQ is asked though nothing runs


def test_a_solo_worker_that_takes_one_message_ahead_does_not_fall_asleep_on_acknowledgements(
    rabbit: Rabbit, home: Home
) -> None:
    """The next message came when a timer woke the event loop: every 5 s, where tasks take milliseconds."""
    pools = "default_queue: $default\npools: {web: {queues: [$default], pool: solo, prefetch_multiplier: 1}}"
    _write(home, rabbit, "  $default:", pools)
    home.up()
    home.run("send", "note", "word", "--no-wait", "--count", "60")
    eventually(lambda: len(home.trace()) == 60)


def test_a_pool_grows_with_what_waits_and_runs_and_shrinks_again(rabbit: Rabbit, home: Home) -> None:
    policy = "autoscale: {min: 0, max: 3, target_length: 2, cooldown: 100ms}"
    _write(home, rabbit, PLAIN, TWO.replace("replicas: 2, prefetch_multiplier: 1", policy))
    home.up()
    home.run("send", "until", "flag", "--count", "8", "--no-wait")
    eventually(lambda: _workers(home) == 3)
    (counting,) = [pid for pid, command in home.processes().items() if "celeryfleet.client.counting" in command]
    os.kill(counting, signal.SIGKILL)
    (home.path / "flag").touch()
    eventually(lambda: _workers(home) == 0)
    assert home.trace().count("end flag") == 8
    assert "does not answer" in home.log()
    os.kill(home.status()["supervisor"]["pid"], signal.SIGKILL)
    eventually(lambda: not home.processes())


def _workers(home: Home) -> int:
    """Count the ready workers of the pool `mail`; fewer wanted ones do not count."""
    (pool,) = (pool for pool in home.status()["pools"] if pool["name"] == "mail")
    return int(pool["ready"]) if pool["ready"] == pool["want"] else -1


def test_a_task_of_a_killed_worker_starts_anew_at_once(rabbit: Rabbit, home: Home) -> None:
    _write(home, rabbit, PLAIN, TWO)
    home.up()
    home.post("until", "done")
    eventually(lambda: home.trace() == ["start done"])
    busy = eventually(lambda: next((name for name in ("mail-1", "mail-2") if home.worker(name)["active"]), ""))
    subprocess.run(["kill", "-9", str(home.pid(busy))], check=True)
    eventually(lambda: home.trace() == ["start done", "start done"])
    (home.path / "done").touch()
    eventually(lambda: home.trace()[2:] == ["end done"])
    eventually(home.ready)


def test_a_send_by_headers_is_refused_only_where_they_lead_to_a_queue_that_nobody_reads(
    rabbit: Rabbit, home: Home
) -> None:
    """`send --header` was judged as if it had no headers."""
    queues = """  $default:
  $mail: {exchange: {name: $events, type: headers}, headers: {kind: read}}
  $video: {exchange: {name: $events, type: headers}, headers: {kind: unread}}"""
    routes = """default_queue: $default
routes:
  - {task: "shop.*", exchange: $events}
pools: {web: {queues: [$default, $mail]}}"""
    _write(home, rabbit, queues, routes)
    home.up()
    assert json.loads(home.run("send", "add", "1", "2", "--header", "kind=read", "--json").stdout)["result"] == 3
    lines = home.path / "lines.jsonl"
    lines.write_text('{"args": [1, 2], "headers": {"kind": "unread"}}\n')
    ways = (["add", "1", "2", "--no-wait", "--header", "kind=unread"], ["add", "--from", str(lines)])
    for words in ways:
        refused = home.run("send", *words, check=False)
        assert f"would go to the queue {rabbit.name('video')}, which no worker reads now." in refused.stderr
        assert refused.returncode == 3, refused.stderr


def test_a_lost_connection_is_told_in_a_line_and_the_worker_goes_on(rabbit: Rabbit, home: Home) -> None:
    _write(home, rabbit, PLAIN, TWO.replace("replicas: 2", "replicas: 1"))
    home.up()
    task = home.post("until", "done")
    eventually(lambda: home.trace() == ["start done"])
    before = home.pid("mail-1")
    _cancel(rabbit, "mail")
    eventually(lambda: home.log("mail-1").count("Connected to") == 2)
    (home.path / "done").touch()
    # Its message was handed out again when the connection was lost, so it runs twice.
    eventually(lambda: home.trace() == ["start done", "end done"] * 2)
    log = home.log("mail-1")
    assert f"shop.until[{task}] ended after its connection was lost; the broker has handed it out again" in log
    assert "Traceback" not in log
    assert "In Celery 5.1 we introduced" not in log
    assert home.pid("mail-1") == before


def test_threads_go_on_after_a_lost_connection(rabbit: Rabbit, home: Home) -> None:
    """They stood still: a thread and the main thread waited for answers on one socket, until the worker was killed."""
    pools = (
        "default_queue: $default\n"
        "pools: {web: {queues: [$default], pool: threads, concurrency: 4, prefetch_multiplier: 1}}"
    )
    _write(home, rabbit, "  $default:", pools)
    home.up()
    names = ["one", "two", "three"]
    for name in names:
        home.post("until", name)
    eventually(lambda: len(home.trace()) == len(names))
    before = home.pid("web-1")
    _cancel(rabbit, "default")
    eventually(lambda: home.log("web-1").count("Connected to") == 2)
    for name in names:
        (home.path / name).touch()
    home.run("send", "note", "word", "--no-wait", "--count", "200")
    eventually(lambda: home.trace().count("word") == 200)
    assert home.pid("web-1") == before


def _cancel(rabbit: Rabbit, queue: str) -> None:
    """Close the connections of those that consume a queue, as an operator would."""
    name = rabbit.name(queue)
    listed = _rabbitmqctl("list_consumers", "queue_name", "channel_pid")
    channels = {line.split("\t")[1] for line in listed if line.startswith(f"{name}\t")}
    for line in _rabbitmqctl("list_channels", "pid", "connection"):
        channel, connection = line.split("\t")
        if channel in channels:
            _rabbitmqctl("close_connection", connection, "bye")


def _rabbitmqctl(*words: str) -> list[str]:
    """Run RabbitMQ's own command; where it is not at hand, as with a RabbitMQ in a container, the test is skipped."""
    try:
        program = shutil.which("rabbitmqctl", path=f"{os.environ['PATH']}:/usr/sbin") or "rabbitmqctl"
        done = subprocess.run([program, "-q", *words], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        lacking("rabbitmqctl is not here")
    if done.returncode:
        lacking(f"rabbitmqctl {words[0]}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def test_changed_definitions_are_explained_before_anything_starts_and_while_it_runs(rabbit: Rabbit, home: Home) -> None:
    _write(
        home, rabbit, "  $default:\n  $mail: {max_priority: 5}\n  $video: {max_length: 9}", "default_queue: $default"
    )
    home.up()
    wanted = "  $default:\n  $mail: {max_priority: 10}\n  $video:"
    pools = "default_queue: $default\npools: {web: {queues: [$mail]}}"
    _write(home, rabbit, wanted, pools)
    mail = rabbit.name("mail")
    told = f'fleet.yaml:6:{len(mail) + 6}: the queue "{mail}" is on the broker with max_priority 5 (fleet.yaml: 10).'
    other = f'fleet.yaml:7:3: the queue "{rabbit.name("video")}" is on the broker with max_length 9 (fleet.yaml: none).'
    for command in (["up", "-d"], ["reload"]):
        refused = home.run(*command, check=False)
        assert refused.returncode == 2
        assert told in refused.stderr
        assert other in refused.stderr
        assert "Traceback" not in refused.stderr
    assert home.ready()  # what ran goes on
    home.run("down")
    assert home.run("up", "-d", check=False).returncode == 2
    assert not home.processes()


def test_a_worker_whose_queue_becomes_another_one_says_what_differs(rabbit: Rabbit, home: Home) -> None:
    _write(home, rabbit, "  $default: {max_length: 9}", "pools: {web: {queues: [$default]}}")
    home.up()
    name = rabbit.name("default")
    pid = home.pid("web-1")
    os.kill(pid, signal.SIGSTOP)  # or it may declare its own queue again between the two
    with opened(rabbit.url) as connection, connection.channel() as channel:
        channel.queue_delete(name)
        channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-max-length": 7})
    os.kill(pid, signal.SIGCONT)
    told = f'the queue "{name}" is on the broker with max_length 7 (fleet.yaml: 9).'
    eventually(lambda: told in home.log("web-1"))
    assert "Traceback" not in home.log("web-1")
    last = eventually(lambda: home.worker("web-1")["last_exit"])
    assert any(told in line for line in last["log"])


def test_what_no_queue_takes_is_refused_and_what_a_task_rejects_lands_in_the_dead_letter_queue(
    rabbit: Rabbit, home: Home
) -> None:
    queues = """  $default:
  $events:
    exchange: {name: $events, type: topic}
    routing_key: order.#
    arguments: {x-dead-letter-exchange: $dead}
  $dead: {exchange: {name: $dead, type: fanout}}
  $video: {max_length: 1, arguments: {x-overflow: reject-publish}}"""
    routes = """default_queue: $default
routes:
  - {task: shop.poison, exchange: $events, routing_key: order.created}
  - {task: shop.where, exchange: $events, routing_key: invoice.created}
  - {task: shop.boom, queue: $video}
pools: {web: {queues: [$default, $events], prefetch_multiplier: 1}}"""
    _write(home, rabbit, queues, routes)
    home.up()
    lost = home.run("send", "where", "--no-wait", "--force", check=False)
    assert lost.returncode == 2
    assert "shop.where is not sent: no queue takes what goes to the exchange" in lost.stderr
    assert len(lost.stderr.splitlines()) == 2
    home.post("poison")
    # No pool reads it: it was `up` that declared and bound it.
    dead = Backlog(rabbit.url, "amqp", queues=({"name": rabbit.name("dead")},))
    eventually(lambda: measure_by_declaring(dead)[0] == {rabbit.name("dead"): _ready(1)})
    codes = [home.run("send", "boom", "--no-wait", "--force", check=False).returncode for _ in range(2)]
    assert codes == [0, 1]


def test_nine_runs_first(rabbit: Rabbit, home: Home) -> None:
    queues = "  $default:\n  $mail: {max_priority: 9}"
    _write(home, rabbit, queues, TWO.replace(", replicas: 2, prefetch_multiplier: 1", "") + "canvases: {}")
    home.up()
    mail = rabbit.name("mail")
    home.post("until", "go")
    eventually(lambda: home.trace() == ["start go"])  # the next is not taken ahead, since it is acknowledged late
    lines = [json.dumps({"args": [n], "queue": mail, "priority": n}) for n in (0, 1, 5, 9, 3)]
    (home.path / "notes.jsonl").write_text("\n".join(lines))
    home.run("send", "note", "--from", "notes.jsonl", "--no-wait")
    (home.path / "go").touch()
    eventually(lambda: home.trace() == ["start go", "end go", "9", "5", "3", "1", "0"])


def test_tasks_of_a_quorum_queue_wait_in_the_broker_until_they_are_due(
    rabbit: Rabbit, home: Home, delays: None
) -> None:
    queues = "  $default: {type: quorum}\n  $mail:"
    _write(home, rabbit, queues, "default_queue: $default\npools: {web: {queues: [$default, $mail]}}")
    home.up()
    (home.path / "producer.py").write_text(PRODUCER)
    subprocess.run([sys.executable, "producer.py", rabbit.name("mail")], cwd=home.path, env=home.env, check=True)
    eventually(lambda: len(home.trace()) == 9)
    assert home.trace()[:3] == ["now", "again 0", "again 1"]
    assert sorted(home.trace()[3:]) == [f"late {number}" for number in range(6)]
    assert "native delayed delivery do not support direct exchanges" not in home.log("web-1")


def test_results_come_by_rpc_where_no_other_backend_is_named(rabbit: Rabbit, home: Home) -> None:
    _write(home, rabbit, PLAIN, TWO)
    home.up()
    assert home.send("add", "1", "1") == 2
    done = home.run("canvas", "add.s(1, 2) | add.s(3)", "--json")
    assert json.loads(done.stdout)["result"] == 6


@pytest.mark.parametrize("command", [["up", "-d"], ["send", "add", "1", "2"], ["queues"]])
def test_wrong_credentials_end_a_command_with_69_and_are_not_shown(
    rabbit: Rabbit, home: Home, command: list[str]
) -> None:
    _write(home, rabbit, PLAIN, TWO)
    url = rabbit.url.replace("guest@", "wrong-password@")
    home.write((home.path / "fleet.yaml").read_text().replace(rabbit.url, url), TASKS)
    done = home.run(*command, check=False)
    assert done.returncode == 69
    assert "it refuses the user or the password" in done.stderr
    assert "wrong-password" not in done.stderr
