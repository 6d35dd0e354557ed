"""Whole files as teams write them, and the whole fleet.yaml that is made of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeryfleet.fleetfile import dotenv
from celeryfleet.fleetfile.load import parse
from celeryfleet.importers.document import Ask, Result
from celeryfleet.importers.formats import convert
from celeryfleet.machine import facts
from celeryfleet.plan.build import build
from tests import ROOT

FILES = Path(__file__).parent / "files"
#: (kind, file, --app, --env-file)
CASES = [
    ("compose", "compose.yml", "", ""),
    ("compose", "compose-traps.yml", "", ""),
    ("compose", "two-apps.yml", "shop", ""),
    ("procfile", "Procfile", "", ""),
    ("procfile", "Procfile.django", "", ""),
    ("supervisord", "supervisord.conf", "", ""),
    ("supervisord", "numbered.conf", "", ""),
    ("multi", "celeryd", "", ""),
    ("multi", "multi.sh", "", ""),
    ("multi", "start-worker.sh", "", ""),
    ("systemd", "celery.service", "", "celery.env"),
]
#: what the variables that a fleet.yaml must have may be
VARIABLES = {
    "CELERY_BROKER_URL": "amqp://localhost",
    "CONCURRENCY": "2",
    "GRACE": "5",
    "REDIS_PASSWORD": "secret",
    "WEB_CONCURRENCY": "2",
    "WORKERS": "2",
}


def imported(kind: str, file: str, app: str, env_file: str) -> Result:
    known = dotenv.parse((FILES / env_file).read_text("utf-8"), env_file)[0] if env_file else {}
    skip = ("broken",) if file == "compose-traps.yml" else ()
    return convert((FILES / file).read_text("utf-8"), Ask(kind, file, app, known, skip=skip))


@pytest.mark.parametrize(("kind", "file", "app", "env_file"), CASES)
def test_a_file_becomes_this_fleet_to_the_letter(kind: str, file: str, app: str, env_file: str) -> None:
    result = imported(kind, file, app, env_file)
    assert result.text == (FILES / f"{file}.fleet.yaml").read_text("utf-8")


@pytest.mark.parametrize(("kind", "file", "app", "env_file"), CASES)
def test_the_fleet_can_be_planned(kind: str, file: str, app: str, env_file: str) -> None:
    result = imported(kind, file, app, env_file)
    fleet = parse(result.text, "/srv/shop/fleet.yaml", VARIABLES, opened=lambda name: "")
    plan = build(fleet, facts(fleet), [profile for pool in fleet.pools.values() for profile in pool.profiles])
    assert [pool.name for pool in plan.pools] == list(result.pools)


@pytest.mark.parametrize(("kind", "file", "app", "env_file"), CASES)
def test_no_credential_of_the_file_is_copied(kind: str, file: str, app: str, env_file: str) -> None:
    result = imported(kind, file, app, env_file)
    assert "hunter2" not in result.text
    assert not any("hunter2" in str(note) for note in result.notes)


def test_the_documented_procfile_becomes_the_documented_fleet() -> None:
    document = (ROOT / "docs" / "import.md").read_text("utf-8")
    expected = document.split("```yaml\n")[1].split("```")[0]
    procfile = document.split("```\nworker:")[1].split("```")[0]
    made_of_it = convert(f"worker:{procfile}", Ask("procfile", "Procfile")).text
    for paragraph in expected.split("\n\n"):
        assert paragraph in made_of_it


@pytest.mark.parametrize(("kind", "file", "app", "env_file"), CASES)
def test_every_pool_and_every_note_says_where_it_comes_from(kind: str, file: str, app: str, env_file: str) -> None:
    result = imported(kind, file, app, env_file)
    lines = (FILES / file).read_text("utf-8").count("\n")
    places = [place for workers in result.pools.values() for place in workers]
    places += [note.where for note in result.notes]
    for place in places:
        name, _, number = place.partition(" ")[0].partition(":")
        assert name == file
        assert not number or 1 <= int(number) <= lines
