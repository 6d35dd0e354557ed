"""One worker's command line, in each of the ways that teams write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery.apps.multi import MultiParser, NamespacedOptionParser

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.model import Fleet, Pool
from celeryfleet.importers import celery_options
from celeryfleet.importers.document import Ask, Result
from celeryfleet.importers.formats import convert
from celeryfleet.importers.found import Fate


def of(command: str, **known: str) -> Result:
    return convert(f"w: {command}\n", Ask("procfile", "Procfile", known=known))


def fleet(command: str, **variables: str) -> Fleet:
    return parse(of(command).text, "/srv/shop/fleet.yaml", variables)


def pool(command: str, **variables: str) -> Pool:
    (found,) = fleet(command, **variables).pools.values()
    return found


def said(result: Result, fate: Fate = Fate.LOST) -> str:
    return "\n".join(note.what for note in result.notes if note.fate is fate)


@pytest.mark.parametrize(
    "command",
    [
        "celery -A shop worker -Q mail",
        "celery --app=shop worker --queues=mail",
        "celery --app shop worker --queues mail",
        "celery -b redis://h -A shop --no-color worker -Qmail",
        "celery worker -A shop -Q mail",
        "celery worker --app=shop --queues=mail",
        "celeryd -A shop -Q mail",
        "/srv/venv/bin/celery -A shop worker -Q mail",
        "python -m celery -A shop worker -Q mail",
        "python3.12 -W ignore -m celery -A shop worker -Q mail",
        "exec celery -A shop worker -Q mail",
        "A=b celery -A shop worker -Q mail",
        "env -u C A=b celery -A shop worker -Q mail",
        "nohup nice -n 10 celery -A shop worker -Q mail &",
        "poetry run celery -A shop worker -Q mail",
        "uv run --frozen celery -A shop worker -Q mail",
        "pipenv run celery -A shop worker -Q mail",
        "dumb-init -- celery -A shop worker -Q mail",
        "tini -g -- celery -A shop worker -Q mail",
        "newrelic-admin run-program celery -A shop worker -Q mail",
        "ddtrace-run celery -A shop worker -Q mail",
        "opentelemetry-instrument --traces_exporter otlp celery -A shop worker -Q mail",
        "docker-entrypoint.sh celery -A shop worker -Q mail",
        "wait-for-it.sh db:5432 -t 30 -- celery -A shop worker -Q mail",
        "./wait-for-it.sh db:5432 && celery -A shop worker -Q mail",
        "cd shop && celery -A shop worker -Q mail",
        "gosu celery celery -A shop worker -Q mail",
        "su celery -s /bin/sh -c 'celery -A shop worker -Q mail'",
        "sh -c 'celery -A shop worker -Q mail'",
        'bash -lc "exec celery -A shop worker -Q mail"',
        """sh -c "bash -c 'celery -A shop worker -Q mail'" """,
        "watchmedo auto-restart -d . -p '*.py' --recursive -- celery -A shop worker -Q mail",
        "watchfiles 'celery -A shop worker -Q mail' shop",
        "watchfiles --filter python celery.__main__.main --args '-A shop worker -Q mail'",
        "celery -A shop worker -Q mail > /var/log/mail.log 2>&1",
        "celery -A shop worker -Q mail 2>&1 | tee mail.log",
        "celery -A shop beat & celery -A shop worker -Q mail",
        'if [ -n "$X" ]; then celery -A shop worker -Q other; else celery -A shop worker -Q mail; fi',
        "celery -A shop -Q mail -P eventlet worker",
        "celery --app=shop --loglevel=info -b redis://h worker -Q mail",
        "python -m celery -A shop worker -Q mail & wait",
        "su-exec app celery -A shop worker -Q mail",
        "APP=shop celery worker -Q mail",
        "CELERY_APP=shop CELERY_WORKER_QUEUES=mail celery worker",
        "celery multi start w -A shop -Q mail",
        "python manage.py celery worker --app=shop -Q mail",
    ],
)
def test_the_worker_is_found_however_it_is_wrapped(command: str) -> None:
    found = fleet(command)
    assert found.app == "shop"
    assert [list(found_.queues) for found_ in found.pools.values()] == [["mail"]]


@pytest.mark.parametrize(
    "command",
    [
        "echo celery -A shop worker",
        "pkill -f 'celery -A shop worker'",
        "rm -f /var/run/celery worker",
        "celery -A shop inspect ping",
        "celery -A shop multi stop w1",
        "gunicorn shop.celery.worker",
        "celery -A shop flower",
    ],
)
def test_what_only_speaks_of_celery_is_no_worker(command: str) -> None:
    with pytest.raises(FleetError, match="no Celery worker was found"):
        of(command)


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("-Q a,b", "queues", ("a", "b")),
        ("-Q a,b,a", "queues", ("a", "b")),
        ("-Q 'a , b'", "queues", ("a", "b")),
        ("-Q a, b", "queues", ("a", "b")),
        ("-Q build:large,yes,1", "queues", ("build:large", "yes", "1")),
        ("-Q ${Q:-a,b}", "queues", ("a", "b")),
        ("-Q a -Q b", "queues", ("b",)),
        ("-Q a,b -X b", "queues", ("a",)),
        ("", "queues", ("celery",)),
        ("-Q a,b", "order", "round_robin"),
        ("-Q a", "order", "strict"),
        ("", "concurrency", "auto"),
        ("-c 4", "concurrency", 4),
        ("-c4", "concurrency", 4),
        ("--concurrency=4", "concurrency", 4),
        ("--conc 4", "concurrency", 4),
        ("-c 0", "concurrency", "auto"),
        ("-c auto", "concurrency", "auto"),
        ("-c $(nproc)", "concurrency", "auto"),
        ("-c `nproc --all`", "concurrency", "auto"),
        ("-c $(( $(nproc) * 2 ))", "concurrency", "auto"),
        ("-c ${C:-3}", "concurrency", 3),
        ("-c $N", "concurrency", 7),
        ("-c many", "concurrency", "auto"),
        ("-P solo", "concurrency", 1),
        ("--autoscale=10,3", "concurrency", 10),
        ("--autoscale 3,10", "concurrency", 10),
        ("--autoscale=${N},2", "concurrency", 7),
        ("--autoscale=${MAX:-9},${MIN:-2}", "concurrency", 9),
        ("--autoscale=${BOTH:-8,2}", "concurrency", 8),
        ("--autoscale=$BOTH", "concurrency", "auto"),
        ("-P gevent", "pool", "gevent"),
        ("-P processes", "pool", "prefork"),
        ("--pool=${P:-threads}", "pool", "threads"),
        ("-P shop.pool:Mine", "pool", None),
        ("--max-tasks-per-child=50", "max_tasks_per_child", 50),
        ("--maxtasksperchild 50", "max_tasks_per_child", 50),
        ("--max-tasks-per-child=0", "max_tasks_per_child", None),
        ("--max-memory-per-child=400000", "max_memory_per_child", 400_000 * 1024),
        ("--max-memory-per-child=$N", "max_memory_per_child", 7 * 1024),
        ("--time-limit=300", "time_limit", 300.0),
        ("--time-limit=1.5", "time_limit", 1.5),
        ("--time-limit=$N", "time_limit", 7.0),
        ("--soft-time-limit 7200", "soft_time_limit", 7200.0),
        ("--time-limit 60 --soft-time-limit 60", "soft_time_limit", None),
        ("--prefetch-multiplier=0", "prefetch_multiplier", 0),
        ("-E", "events", True),
        ("-BE", "events", True),
        ("--disable-prefetch", "celery", {"worker_disable_prefetch": True}),
        ("--config=conf", "env", {"CELERY_CONFIG_MODULE": "conf"}),
    ],
)
def test_an_option_becomes_a_key_of_the_pool(words: str, key: str, value: Any) -> None:
    assert getattr(pool(f"celery -A shop worker {words}", N="7"), key) == value


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("-B", "`-B`: `beat:` runs one beat for the fleet, in a process of its own"),
        ("-D", "`-D`: `celeryfleet up -d`"),
        ("--purge", "celeryfleet queues purge"),
        ("--statedb=/var/run/%n.db", "`-S /var/run/%n.db`"),
        ("--pidfile=/run/%n.pid", "`--pidfile=/run/%n.pid`"),
        ("-f /var/log/x.log", "`--logfile=/var/log/x.log`"),
        ("-X slow", "`-X slow`"),
        ("-I shop.more", "`-I shop.more`"),
        ("--uid=1000", "`--uid=1000`"),
        ("--workdir=/srv", "`--workdir=/srv`: fleet.yaml belongs there"),
        ("-l $LEVEL", "`-l ${LEVEL}`: write it as the pool's `log_level`: debug, info, warning, error or critical"),
        ("-l info", "`-l INFO`"),
        ("-O fast", "`-O fast` is gone from Celery"),
        ("-Ofair", "`-O fair`: every worker is fair"),
        ("--without-mingle", "`--without-mingle`"),
        ("--frobnicate 3", "`--frobnicate 3` is no option"),
        ("stray", "`stray` belongs to no option"),
        ("--events=x -c 4", "Celery refuses it: Option '--events' does not take a value."),
        ("-c 4 -l", "Celery refuses it: Option '-l' requires an argument."),
        ("-P eventlet worker", "`worker` belongs to no option"),
        ("--max-tasks-per-child=-1", "max_tasks_per_child must be a whole number of at least 1"),
        ("-c ${C:-many}", "concurrency must be a whole number"),
        ("-P shop.pool:Mine", "pool must be prefork, threads, gevent, eventlet or solo"),
        ("-c many", "`-c many`: concurrency must be a whole number"),
        ("--autoscale=8,2", "concurrency: 2 and autoscale: {min: 1, max: 4}"),
        ("-Q $QUEUES", "`-Q ${QUEUES}`: the file does not tell what it holds"),
        ("-Q ${Q:-a}", "`-Q ${Q:-a}` is taken as a"),
        ("-Q 'a , b'", "the spaces are part of the names 'a ' and ' b'"),
        ("-Q unacked,a", "the queue 'unacked'"),
        ("-- worker.prefetch_multiplier=1", "`-- worker.prefetch_multiplier=1`: write settings under `celery:`"),
    ],
)
def test_what_has_no_key_is_said(words: str, sentence: str) -> None:
    result = of(f"celery -A shop worker {words}")
    assert any(sentence in note.what for note in result.notes)
    assert " ".join(sentence.split()) in " ".join(result.text.replace("#   ", "").replace("\n", " ").split())


def test_every_option_of_celery_s_own_help_is_known() -> None:
    from celery.bin.celery import celery
    from celery.bin.worker import worker

    for parameter in (*worker.params, *celery.params):
        for name in parameter.opts:
            if name in ("--help", "--version") or not name.startswith("-"):
                continue
            words = (name,) if getattr(parameter, "is_flag", False) else (name, "1")
            parsed = celery_options.parse(words)
            assert (parsed.problems, len(parsed.options)) == ([], 1), name


def test_a_variable_s_value_may_be_given() -> None:
    assert list(parse(of("celery -A shop worker -Q $QS", QS="a,b").text, "/fleet.yaml", {}).queues) == ["a", "b"]


@pytest.mark.parametrize(
    ("written", "broker"),
    [
        ("redis://h:6379/1", "redis://h:6379/1"),
        ("redis://:secret@h/1", "${CELERY_BROKER_URL}"),
        ("redis://:${PW}@h/1", "redis://:${PW}@h/1"),
        ("redis://:${PW:-secret}@h/1", "redis://:${PW}@h/1"),
        ("${URL:-redis://h/1}", "${URL:-redis://h/1}"),
        ("${URL}/0", "${URL}/0"),
        ("${KIND}://h/0", "${KIND}://h/0"),
        ("${URL:-amqp://me:secret@h}", "${URL}"),
        ("rediss://h/1?password=secret", "${CELERY_BROKER_URL}"),
    ],
)
@pytest.mark.parametrize("form", ["celery -A shop -b '{}' worker", "CELERY_BROKER_URL='{}' celery -A shop worker"])
def test_a_broker_is_taken_without_its_credential(form: str, written: str, broker: str) -> None:
    text = of(form.format(written)).text
    assert "secret" not in text
    line = next(line for line in text.splitlines() if line.startswith("broker: "))
    literal = "b '" not in form and "$" not in broker
    assert line.split()[1] == (f"${{CELERY_BROKER_URL:-{broker}}}" if literal else broker)


def test_a_variable_of_the_projects_own_tells_the_broker() -> None:
    result = of("SHOP_CELERY_BROKER_URL=redis://h:6379/1 SHOP_REDIS_URL=redis://cache celery -A shop worker")
    assert "\nbroker: ${SHOP_CELERY_BROKER_URL:-redis://h:6379/1} " in result.text


def test_a_fleet_without_a_broker_says_that_it_would_start_its_own() -> None:
    result = of("celery -A shop worker")
    assert "\n# broker: ${CELERY_BROKER_URL}" in result.text
    assert "or the fleet runs on one of its own, which your producers do not know" in said(result)


def test_what_may_be_a_credential_stays_out_of_the_environment() -> None:
    command = "SECRET_KEY=s3 STRIPE_KEY=s3 DB=postgres://u:s3@h/x HOOK_DSN=s3 MODE=bulk celery -A shop worker"
    command = f"OTLP_HEADERS='Authorization=Basic s3s3s3s3' {command}"
    assert pool(command).env == {"MODE": "bulk"}
    assert "s3" not in of(command).text
    for name in ("SECRET_KEY", "STRIPE_KEY", "DB", "HOOK_DSN", "OTLP_HEADERS"):
        assert f"{name} may hold a credential" in said(of(command))


def test_a_remapped_signal_is_not_passed_on() -> None:
    assert pool("REMAP_SIGTERM=SIGQUIT celery -A shop worker").env == {}


@pytest.mark.parametrize(
    ("beat", "line"),
    [
        ("celery -A shop beat", "beat: {}"),
        ("celery -A shop worker -Q b -B", "beat: {}"),
        ("celery -A shop beat -S django_celery_beat.schedulers:DatabaseScheduler", "beat: {scheduler: django}"),
        ("celery -A shop beat --scheduler=django --max-interval 5", "beat: {scheduler: django, max_interval: 5s}"),
        ("celery -A shop beat --scheduler redbeat.RedBeatScheduler", "beat: {scheduler: redbeat.RedBeatScheduler}"),
        ("celery -A shop worker -Q b -B -S django", "beat: {}"),  # -S of a worker is its state file
        ("celery -A shop worker -Q b -B --scheduler django", "beat: {scheduler: django}"),
        ("celery -A shop beat -S $S", "beat: {}"),
    ],
)
def test_beat_becomes_the_beat_of_the_fleet(beat: str, line: str) -> None:
    text = convert(f"w: celery -A shop worker -Q a\nb: {beat}\n", Ask("procfile", "Procfile")).text
    assert f"\n{line} " in text
    assert parse(text, "/fleet.yaml", {}).beat is not None


# --- celery multi -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "3 -c 3",
        "3 -c 3 -c:1 10",
        "10 -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG",
        "5 -c 3 -c:1-3 10 -Q:2 special",
        "3 --range-prefix=worker -c 3",
        "image video data -c 3 -c:image 10",
        "image video data -c 3 -c:2 10 -Q:3 x",
        "foo bar baz xuzzy -c 3 -c:foo,bar,baz 10",
        "foo@%h bar@example.org -c:foo 2",
        "w1 -Q:w1 a --max-tasks-per-child:w1=5",
        "2 -E -c:2 4 --prefix=x",
    ],
)
def test_nodes_are_those_of_celery_s_own_parser(words: str, tmp_path: Path) -> None:
    files = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n.log"]
    parser = NamespacedOptionParser([*words.split(), *files])
    parser.parse()
    theirs = [
        (node.name.partition("@")[0], dict(node.options)) for node in MultiParser(cmd="celery worker").parse(parser)
    ]
    for _, options_ in theirs:
        for own in ("-n", "--pidfile", "--logfile", "--executable"):
            del options_[own]
    doubts: list[str] = []
    ours = celery_options.nodes(words.split(), {}, doubts)
    assert doubts == []
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (_, mine), (_, theirs_) in zip(ours, theirs, strict=True):
        flat = [
            f"{key}{'=' if key.startswith('--') else ' '}{value}" if value else key for key, value in theirs_.items()
        ]
        assert (
            celery_options.parse(mine).options
            == celery_options.parse([word for item in flat for word in item.split(" ", 1)]).options
        )


def test_a_node_that_there_is_not_is_said() -> None:
    result = of("celery multi start 2 -A shop -Q:9 x")
    assert "`-Q:9` is for the node 9, which there is not" in said(result, Fate.CHANGED)


def test_an_unknown_number_of_nodes_is_one_and_said() -> None:
    result = of("celery multi start $N -A shop")
    assert list(result.pools) == ["celery1"]
    assert "`${N}`: the file does not tell what it holds" in said(result, Fate.CHANGED)
    assert len(of("celery multi start $N -A shop", N="4").pools["celery"]) == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("999999999", "more than 1000 nodes are too many"),
        ("1_000_000_000", "more than 1000 nodes are too many"),
        ("3 -c:1-999999999 2", "more than 1000 nodes are too many"),
        ("2 -Q:1-a b", "invalid literal for int()"),
        ("a b -Q:1,9 x", "No node at index '9'"),
    ],
)
def test_arguments_of_multi_that_celery_s_parser_would_fail_at_are_quoted(words: str, reason: str) -> None:
    with pytest.raises(FleetError) as caught:
        of(f"celery multi start {words} -A shop")
    assert "the arguments of `celery multi` cannot be read" in str(caught.value)
    assert reason in str(caught.value)


# --- Pools and their names --------------------------------------------------------------------------------


def pools(*commands: str) -> dict[str, int]:
    text = "".join(f"{command}\n" for command in commands)
    found = parse(convert(text, Ask("procfile", "Procfile")).text, "/fleet.yaml", {}).pools
    return {name: pool.replicas for name, pool in found.items()}


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (("a: celery -A x worker -Q q", "b: celery -A x worker -Q q"), {"a": 1, "b": 1}),
        (("a1: celery -A x worker -Q q", "a2: celery -A x worker -Q q"), {"a": 2}),
        (("a1: celery -A x worker -Q q", "a2: celery -A x worker -Q r"), {"a1": 1, "a2": 1}),
        (("a: celery -A x worker -n mail@%h",), {"mail": 1}),
        (("a: celery -A x worker -n mail.%h",), {"mail": 1}),
        (("a: celery -A x worker -n worker@%h",), {"a": 1}),
        (("a: celery -A x worker -n w1@%h",), {"a": 1}),
        (("a: celery -A x worker -n $DYNO@%h",), {"a": 1}),
        (("a: celery -A x worker -n m@%h -Q a", "b: celery -A x worker -n m@%h -Q b"), {"m-a": 1, "m-b": 1}),
        (("web: celery -A x worker -c 1", "web-1: celery -A x worker -c 2"), {"web": 1, "web_1": 1}),
        (("a.b: celery -A x worker",), {"a-b": 1}),
    ],
)
def test_pools_and_replicas(commands: tuple[str, ...], expected: dict[str, int]) -> None:
    assert pools(*commands) == expected


def test_two_workers_with_one_environment_share_it() -> None:
    command = "A=1 B={} celery -A shop worker -Q {}"
    text = convert(f"a: {command.format(1, 'a')}\nb: {command.format(2, 'b')}\n", Ask("procfile", "Procfile")).text
    assert "x-env: &env" in text
    found = parse(text, "/fleet.yaml", {}).pools
    assert found["a"].env == {"A": "1", "B": "1"}
    assert found["b"].env == {"A": "1", "B": "2"}


def test_what_a_worker_without_queues_reads_is_a_guess_and_said_to_be_one() -> None:
    """Celery reads all of the app's task_queues there, and `celery` only if it has none."""
    result = of("celery -A shop worker")
    assert "queues: [celery]              # a guess" in result.text
    assert "default_queue: celery             # a guess" in result.text
    assert "a worker without -Q reads them all: list them here; `celeryfleet check`" in said(result, Fate.CHANGED)
    assert "reads them all" not in said(of("celery -A shop worker -Q celery"), Fate.CHANGED)


@pytest.mark.parametrize(
    "command",
    [
        'bash -c "python manage.py migrate && exec celery -A x worker"',
        """sh -c "bash -c 'python manage.py migrate && celery -A x worker'" """,
        "python manage.py migrate && celery -A x worker",
    ],
)
def test_what_runs_beside_a_worker_in_a_shell_of_its_own_is_named(command: str) -> None:
    assert "beside it runs `python manage.py migrate`" in said(of(command))


def test_a_shell_of_its_own_changes_the_folder_and_the_environment_of_its_worker_alone() -> None:
    result = of('sh -c "cd /srv && export A=b && celery -A x worker -Q a"; celery -A x worker -Q c')
    a, c = parse(result.text, "/srv/shop/fleet.yaml", {}).pools.values()
    assert (dict(a.env), dict(c.env)) == ({"A": "b"}, {})
    assert said(result, Fate.CHANGED).count("it runs in /srv") == 1


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("celery -A x worker >> /var/log/w.log 2>&1", ">> /var/log/w.log"),
        ("celery -A x worker 2>err.log >out.log", "> err.log"),
        ('bash -c "exec celery -A x worker >> w.log 2>&1"', ">> w.log"),
    ],
)
def test_a_redirection_into_a_file_needs_no_key(command: str, file: str) -> None:
    assert f"`{file}`: logs are in .celeryfleet/" in said(of(command), Fate.NEEDLESS)


@pytest.mark.parametrize("redirection", ["2>&1", "> /dev/null", ">/dev/stdout 2>&1", "< /dev/null"])
def test_a_redirection_into_no_file_is_not_worth_a_word(redirection: str) -> None:
    assert "logs are in" not in said(of(f"celery -A x worker {redirection}"), Fate.NEEDLESS)


COMPOSE = """services:
  shop: {command: celery -A shop worker -Q a}
  %s
"""


@pytest.mark.parametrize(
    ("service", "message"),
    [
        ("jobs: {command: /app/start-worker.sh}", "jobs: `/app/start-worker.sh`: the script /app/start-worker.sh is"),
        ("beat: {command: [sh, /app/run.sh]}", "beat: `sh /app/run.sh`: the script /app/run.sh is not found here."),
        ("worker: {build: .}", "worker: it has no command here, and that of its image is not known."),
        (
            "celery-mail: {command: python -m shop.work}",
            "celery-mail: `python -m shop.work`: whether it starts Celery is not known.",
        ),
        (
            "mail: {command: celery -A shop $WHAT}",
            "mail: `celery … ${WHAT}`: which command of Celery that is is not told.",
        ),
    ],
)
def test_what_may_start_workers_and_is_not_understood_is_an_error_that_quotes_it(service: str, message: str) -> None:
    with pytest.raises(FleetError) as caught:
        convert(COMPOSE % service, Ask("compose", "compose.yml"))
    name = service.partition(":")[0]
    assert f"compose.yml:3: {message}" in str(caught.value)
    assert f"`--skip {name}` leaves it out and takes the others, 1 worker." in str(caught.value)
    result = convert(COMPOSE % service, Ask("compose", "compose.yml", skip=(name,)))
    assert list(result.pools) == ["shop"]
    assert "left out, by --skip" in said(result)


@pytest.mark.parametrize(
    "service",
    [
        "nginx: {image: nginx, command: /start-nginx.sh}",
        "heartbeat: {command: /app/run.sh}",
        "celery-redis: {image: redis}",
        "celery-exporter: {image: exporter}",
        "worker-web: {command: gunicorn shop.wsgi}",
        "worker: {command: rq worker default}",
        "celery-beat: {command: celery -A shop beat}",
        "celery-health: {command: celery -A shop inspect ping}",
    ],
)
def test_what_starts_no_workers_is_passed_over(service: str) -> None:
    assert list(convert(COMPOSE % service, Ask("compose", "compose.yml")).pools) == ["shop"]


def test_a_name_to_skip_that_there_is_not_is_an_error() -> None:
    with pytest.raises(FleetError, match=r"--skip shopp: there is none of that name\. Did you mean"):
        convert(COMPOSE % "", Ask("compose", "compose.yml", skip=("shopp",)))


def test_what_broker_and_results_say_is_not_in_the_environment_too() -> None:
    """A pool with `env` is started anew instead of forked."""
    variables = "CELERY_BROKER_URL=redis://h/0 CELERY_RESULT_BACKEND=redis://h/1"
    result = of(f"{variables} celery -A shop worker -Q a")
    assert "broker: ${CELERY_BROKER_URL:-redis://h/0}" in result.text
    assert "results: ${CELERY_RESULT_BACKEND:-redis://h/1}" in result.text
    assert "env:" not in result.text


@pytest.mark.parametrize(
    "worker", ["REDIS_URL=redis://h/0 celery", "CELERY_BROKER_URL=redis://h/9 celery -b redis://h/0"]
)
def test_a_variable_that_the_app_may_read_for_something_else_stays(worker: str) -> None:
    assert "env:" in of(f"{worker} -A shop worker -Q a").text
