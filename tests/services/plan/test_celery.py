"""Celery itself takes what the plan makes: a worker's options, its command, and the printed settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from celeryfleet.plan.config import as_python
from tests.unit.plan.fleets import fleet_text, plan_of
from tests.unit.plan.test_build import SHOP
from tests.unit.plan.test_command import EVERYTHING


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "celery.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    return tmp_path


def test_celerys_worker_takes_the_options_and_settings(shop: Path) -> None:
    plan = plan_of(fleet_text(broker="memory://", pools={"web": EVERYTHING}))
    worker = plan.worker(plan.pools[0], 1)
    code = (
        "import json, sys\n"
        "from celeryfleet.app import apply, load\n"
        "settings, conf, options = json.loads(sys.stdin.read())\n"
        "app = load('shop.celery:app', folder='.')\n"
        "apply(app, settings)\n"
        "apply(app, conf)\n"
        "worker = app.Worker(**options)\n"
        "print(worker.hostname, worker.concurrency, worker.pool_cls.__module__, worker.prefetch_multiplier,\n"
        "      worker.max_tasks_per_child, worker.max_memory_per_child, worker.time_limit, worker.soft_time_limit,\n"
        "      worker.task_events, list(app.amqp.queues.consume_from), worker.loglevel)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([plan.settings, worker.conf, worker.options]),
        cwd=shop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == (
        "web-1@shop.host 3 celery.concurrency.prefork 2 1000 390625 1200 19.5 True ['video', 'default'] 20\n"
    ), done.stderr


def test_the_celery_command_line_takes_the_command(shop: Path) -> None:
    plan = plan_of(fleet_text(pools={"web": EVERYTHING, "lean": {"queues": ["default"], "pool": "solo"}}))
    for pool in plan.pools:
        argv = [*plan.worker(pool, 1).argv[1:], "--help"]  # an unknown flag is an error before the help
        done = subprocess.run(
            [sys.executable, "-m", "celery", *argv], cwd=shop, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_celery_takes_the_module_without_celeryfleet(tmp_path: Path) -> None:
    (tmp_path / "settings_of_shop.py").write_text(as_python(plan_of(SHOP, {"PASSWORD": "hunter2"})))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "routing.py").write_text(
        "class TaskRouter:\n"
        "    def route_for_task(self, task, args, kwargs):\n"
        "        return 'mail' if task == 'by.router' else None\n"
    )
    code = (
        "import sys\n"
        "from celery import Celery\n"
        "app = Celery('x')\n"
        "app.config_from_object('settings_of_shop')\n"
        "route = app.amqp.router.route\n"
        "print(app.conf.broker_url, route({}, 'shop.video.encode')['queue'].name, route({}, 'x')['queue'].name)\n"
        "print(route({}, 'shop.sms.send')['queue'].name, [q.name for q in route({}, 'shop.order.a')['declare']])\n"
        "print(route({}, 'by.router')['queue'].name, route({}, 'by.router')['priority'])\n"
        "print('celeryfleet' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PASSWORD": "changed"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "redis://:changed@host:6379/0 video default\nmail ['events']\nmail 9\nFalse\n", done.stderr
