from __future__ import annotations

from collections.abc import Iterator

import pytest
from loguru import logger

from celeryfleet.client.expression import Names, parse
from celeryfleet.client.inspect import registered
from celeryfleet.client.names import resolve_name
from celeryfleet.demo import tasks
from celeryfleet.demo.celery import app
from celeryfleet.fleetfile import load
from tests import ROOT

FLEET = load.read(ROOT / "fleet.yaml", {})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_PACE", "0")


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line).rstrip()), format="{level} {name}:{function} - {message}")
    yield lines
    logger.remove(sink)


def test_the_tasks_of_the_lessons_do_what_they_say() -> None:
    assert tasks.add(4, 4) == 8
    assert tasks.sub(4, 1) == 3
    assert tasks.mul(8, 8) == 64
    assert tasks.divide(9, 2) == 4.5
    assert tasks.xsum([1, 2, 3]) == 6
    assert tasks.get_weather_today() == {"weather": "rain", "temperature": 0}
    assert tasks.compress_image("photo.jpg") == {"image": "photo.jpg", "ratio": 0.6}
    assert tasks.notify_user_in_slack("Bob") is None
    assert tasks.task("low", "Good morning") == "low: Good morning"


def test_an_image_is_missing_by_its_name_or_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such image: missing\.jpg"):
        tasks.compress_image("missing.jpg")
    monkeypatch.setenv("DEMO_FAILURE_RATE", "1")
    with pytest.raises(FileNotFoundError):
        tasks.compress_image("photo.jpg")


def test_the_task_layer_logs_info_and_the_payload_layer_debug(log: list[str]) -> None:
    tasks.get_weather_today()
    assert log == [
        "INFO celeryfleet.demo.tasks.datasource.weather:get_weather_today - Start receiving weather data.",
        "DEBUG celeryfleet.demo.libs.weather:get_weather - Start getting weather for <today>.",
        "DEBUG celeryfleet.demo.libs.weather:_connect_to_weather_provider - Connecting to weather provider...",
        "DEBUG celeryfleet.demo.libs.weather:_connect_to_weather_provider - Connection established.",
        "DEBUG celeryfleet.demo.libs.weather:_get_data - Getting data...",
        "DEBUG celeryfleet.demo.libs.weather:_get_data - Data received.",
        "INFO celeryfleet.demo.tasks.datasource.weather:get_weather_today - Task completed.",
    ]


@pytest.mark.parametrize(
    ("called", "first"),
    [
        (lambda: tasks.notify_user_in_slack("Bob"), "Start sending notification to slack for user <Bob>."),
        (lambda: tasks.compress_image("photo.jpg"), "Start compressing image <photo.jpg>."),
        (lambda: tasks.add(4, 4), "Start adding <4> and <4>."),
    ],
)
def test_every_task_says_when_it_starts_and_ends(log: list[str], called: object, first: str) -> None:
    assert callable(called)
    called()
    assert log[0].endswith(f" - {first}")
    assert log[-1].endswith(" - Task completed.")
    assert all(line.startswith(("INFO celeryfleet.demo.tasks.", "DEBUG celeryfleet.demo.libs.")) for line in log)


def test_everything_travels_as_json() -> None:
    assert (app.conf.task_serializer, app.conf.result_serializer, app.conf.accept_content) == ("json", "json", ["json"])


def test_the_demo_fleet_names_only_what_there_is() -> None:
    names = registered(app)
    aliases = {alias: body.task for alias, body in FLEET.tasks.items()}
    assert set(FLEET.queues) == {"datasource", "datahandling", "notification", "default", "low"}
    for word in ("weather", "compress", "notify", "message", "add", "task"):
        assert resolve_name(word, names, aliases) in names
    for text in FLEET.canvases.values():
        parse(text, Names(names, aliases, tuple(FLEET.queues)))
    assert {"group", "chain", "chord"} <= set(FLEET.canvases)
