"""Beat with the app's own schedule and scheduler: those of django-celery-beat and celery-redbeat really send."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import Home
from tests.e2e.examples.projects import Project, project
from tests.e2e.test_why import state
from tests.fakes import eventually

FLEET = """
name: shop
app: shop
queues: {default: }
pools: {web: {queues: [default]}}
"""

APP = """
import pathlib
import celeryfleet
from celery import Celery

app = Celery("shop")
app.conf.beat_schedule = {"own": {"task": "shop.note", "schedule": 0.2, "args": ("own",)}}
celeryfleet.install(app)


@app.task
def note(name):
    with (pathlib.Path(__file__).parent / "trace").open("a") as trace:
        trace.write(f"{name}\\n")
"""

#: another process puts a task into Redis that was last sent two days ago
REDBEAT = """
import sys
from datetime import datetime, timedelta, timezone
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry
from shop import app
name, seconds = sys.argv[1:]
ago = datetime.now(timezone.utc) - timedelta(days=2)
every = schedule(float(seconds))
RedBeatSchedulerEntry(name, "shop.note", every, args=(name,), last_run_at=ago, app=app).save()
"""

NOTE = """

@shared_task
def note(name):
    import pathlib
    with (pathlib.Path(__file__).parents[1] / "trace").open("a") as trace:
        trace.write(f"{name}\\n")
"""

#: the same in the database
DATABASE = """
import datetime
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
ago = timezone.now() - datetime.timedelta(days=2)
every = IntervalSchedule.objects.create(every=int(1e6 * {seconds}), period="microseconds")
PeriodicTask.objects.create(name="{name}", task="orders.tasks.note", interval=every, args='["{name}"]', last_run_at=ago)
"""


@pytest.fixture
def django() -> Iterator[Project]:
    with project() as found:
        with (found.path / "core" / "settings.py").open("a") as settings:
            settings.write('\nINSTALLED_APPS += ["django_celery_beat"]\n')
        with (found.path / "orders" / "tasks.py").open("a") as tasks:
            tasks.write(NOTE)
        found.manage("migrate", "--verbosity", "0")
        yield found


def python(home: Home, code: str, *words: str) -> None:
    subprocess.run([sys.executable, "-c", code, *words], cwd=home.path, env=home.env, check=True, timeout=60)


def see_it_send_and_go_on_when_it_is_killed(home: Home, put: Callable[[str, float], object]) -> None:
    """Put a task that is always due into the schedule, then one that is due once a day; kill beat when both were sent.

    Beat sends on, and nothing again that was sent.
    """
    put("often", 0.2)
    eventually(lambda: "often" in home.trace())
    put("daily", 86400.0)
    eventually(lambda: "daily" in home.trace())
    # It is written down before the next task is sent: of two that are done from now on, one is sent after that.
    sent = home.trace().count("often")
    eventually(lambda: home.trace().count("often") > sent + 1)
    old = home.pid("beat-1")
    os.kill(old, signal.SIGKILL)
    eventually(lambda: home.worker("beat-1")["state"] == "ready" and home.pid("beat-1") != old)
    sent = home.trace().count("often")
    eventually(lambda: home.trace().count("often") > sent + 1)
    assert home.trace().count("daily") == 1
    assert sum("beat" in command.split()[:4] for command in home.processes().values()) == 1


@pytest.mark.parametrize("beat", ["beat:", "beat: true", "beat: {max_interval: 1s}"])
def test_beat_alone_runs_the_app_s_own_schedule(home: Home, beat: str) -> None:
    home.write(FLEET + beat, APP).up()
    eventually(lambda: home.trace().count("own") > 1)
    home.run("down")
    assert "beat-1 has ended: it exited with code 0" in home.log()


#: beat is told to end, once, while it is about to send a task
ASKED = """
import os, signal
from celery.signals import before_task_publish

@before_task_publish.connect
def ask(headers, **_):
    asked = pathlib.Path(__file__).parent / "asked"
    if os.environ["CELERYFLEET_WORKER"] == "beat-1" and not asked.exists():
        asked.write_text(headers["id"])
        os.kill(os.getpid(), signal.SIGTERM)
        {then}
"""


def test_beat_that_is_told_to_end_sends_first_what_it_has_begun_to(home: Home) -> None:
    """Celery's handler closed schedule and connection under it: noted as sent, not sent, and at times exit code 1."""
    home.write(FLEET + "beat:", APP + ASKED.format(then="pass")).up()
    eventually(lambda: "beat-1 has ended: it exited with code 0" in home.log())
    eventually(lambda: state(home, (home.path / "asked").read_text()) == "succeeded")


def test_beat_that_is_told_to_end_does_not_wait_for_a_broker_that_does_not_answer(home: Home) -> None:
    home.write(FLEET + "beat:", APP + ASKED.format(then="import time; time.sleep(600)")).up()
    eventually(lambda: "beat-1 has ended: it exited with code 0" in home.log())
    eventually(lambda: "own" in home.trace())


def test_redbeat_sends_what_is_put_into_redis_and_takes_its_lock_over_when_it_was_killed(home: Home) -> None:
    home.write(FLEET + "beat: {scheduler: redbeat.RedBeatScheduler, max_interval: 1s}", APP).up()
    eventually(lambda: "own" in home.trace())
    see_it_send_and_go_on_when_it_is_killed(home, lambda name, seconds: python(home, REDBEAT, name, str(seconds)))
    assert "is taken over" in home.log("beat-1")


def test_redbeat_waits_for_the_lock_of_a_beat_elsewhere_and_says_so(home: Home) -> None:
    home.write(FLEET + "beat: {scheduler: redbeat.RedBeatScheduler, max_interval: 1s}", APP)
    home.up("--scale", "web=0")
    take = "import shop; from redbeat.schedulers import get_redis; get_redis(shop.app).set('redbeat::lock', 'another')"
    python(home, take)
    os.kill(home.pid("beat-1"), signal.SIGKILL)
    eventually(lambda: "is held by a beat elsewhere" in home.log("beat-1"))


def test_what_is_put_into_the_database_is_sent_by_a_beat_that_may_be_killed(django: Project) -> None:
    with (django.path / "fleet.yaml").open("a") as fleet:
        fleet.write("\nbeat: {scheduler: django, max_interval: 1s}\n")
    django.up()
    see_it_send_and_go_on_when_it_is_killed(
        django, lambda name, seconds: django.script(DATABASE.format(name=name, seconds=seconds))
    )


def test_a_scheduler_that_is_not_there_is_told_by_up_and_check(home: Home) -> None:
    home.write(FLEET + "beat: {scheduler: redbeats.RedBeatScheduler}", APP)
    what = 'the scheduler "redbeats.RedBeatScheduler" of `beat:` fails to import: ModuleNotFoundError'
    done = home.run("up", "-d", check=False)
    assert (done.returncode, what in done.stderr) == (3, True)
    done = home.run("check", check=False)
    assert (done.returncode, f"fleet.yaml:6:8: {what}" in done.stderr) == (2, True)
