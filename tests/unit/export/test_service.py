"""What every engine is told of a fleet: commands, variables, limits and settings, and no credential."""

from __future__ import annotations

import json
import re
from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from supervisor.datatypes import dict_of_key_value_pairs  # type: ignore[import-untyped]

from celeryfleet.app.exported import read
from celeryfleet.errors import FleetError
from celeryfleet.export.formats import Format, engine
from celeryfleet.importers import supervisord as imports
from tests.unit.export.fleets import GIVEN, SHOP, planned, written

WEB = (
    "celery -A shop.celery:app worker -Q mail,default -n web-1@shop.%h -l INFO "
    "--without-mingle --without-gossip --without-heartbeat"
)


def test_each_pool_and_the_one_beat_are_services() -> None:
    web, video, beat = planned().services
    assert (web.name, web.replicas, web.grace, web.memory) == ("web", 2, 90.0, None)
    assert " ".join(web.command("web-1")) == WEB
    assert web.env == {
        "CELERY_LOADER": "celeryfleet.worker.loader:Loader",
        "CELERYFLEET_POOL": "web",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "COLOR": "red $1 one",
    }
    assert (video.processes, video.memory) == (4, int(4 * 512 * 1024**2 * 1.25) + 200 * 1024**2)
    assert "-c 4 --max-memory-per-child 524288" in " ".join(video.command("video"))
    assert " ".join(beat.command("", "/tmp/b")) == "celery -A shop.celery:app beat -l INFO -s /tmp/b --pidfile="


def test_what_comes_from_a_variable_or_may_be_a_credential_is_a_reference() -> None:
    web, video, _ = planned().services
    settings = {"PASSWORD": "${PASSWORD}", "CELERY_RESULT_BACKEND": "${CELERY_RESULT_BACKEND}"}
    assert video.references == settings
    own = {"API_TOKEN": "${API_TOKEN}", "HOME_URL": "http://${HOST:-here}/", "DATABASE": "${DATABASE_URL}"}
    assert web.references == settings | own


@pytest.mark.parametrize("kind", Format)
def test_no_format_writes_a_credential(kind: Format) -> None:
    assert "hush" not in "".join(written(kind).texts.values())


def test_the_settings_are_read_again_with_the_variables_of_the_process(tmp_path: Path) -> None:
    file = str(tmp_path / "settings.json")
    Path(file).write_text(planned().settings)
    environ = {**GIVEN, "CELERY_RESULT_BACKEND": 'a"b$${C}', "CELERYFLEET_SETTINGS": file}
    sender, worker = read(environ), read({**environ, "CELERYFLEET_POOL": "web"})
    assert sender.settings["broker_url"] == "redis://:hush1@redis:6379/0"
    assert sender.settings["result_backend"] == 'a"b$${C}'
    assert sender.conf == {}
    options = worker.conf["broker_transport_options"]
    assert (options["reading_order"], options["queue_order_strategy"]) == (["mail", "default"], "priority")
    assert "unacked_key" not in options
    assert worker.defaults == {"worker_pool": "prefork", "worker_concurrency": 1, "worker_prefetch_multiplier": 1}
    with pytest.raises(FleetError, match="needs the variable PASSWORD"):
        read({"CELERYFLEET_SETTINGS": file})
    with pytest.raises(FleetError, match="does not tell of nobody"):
        read({**environ, "CELERYFLEET_POOL": "nobody"})


def test_a_dollar_of_a_setting_is_no_variable(tmp_path: Path) -> None:
    text = SHOP.replace("beat: true", 'celery: {task_default_rate_limit: "$$1$$$${X}"}')
    file = str(tmp_path / "settings.json")
    Path(file).write_text(planned(text).settings)
    given = read({**GIVEN, "CELERY_RESULT_BACKEND": "x", "CELERYFLEET_SETTINGS": file})
    assert given.settings["task_default_rate_limit"] == "$1$${X}"


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.COMPOSE])
def test_an_embedded_broker_is_refused_where_the_engine_brings_none(kind: Format) -> None:
    with pytest.raises(FleetError, match=f"the fleet runs a broker of its own, which {kind} would not have"):
        planned("name: a\napp: b\nqueues: {default: }\npools: {web: {queues: [default]}}\n", kind)


def test_what_cannot_be_carried_over_is_said() -> None:
    text = SHOP.replace("replicas: 2", "autoscale: {min: 2, max: 6}\n    healthcheck: {consuming_within: 5s}")
    notes = planned(text).notes
    assert "autoscale of web, 2 to 6: it has 2. `celeryfleet export keda` carries it over" in notes
    assert "healthcheck.consuming_within of web: a worker that lives and reads nothing is not found" in notes


def test_a_dollar_of_a_variable_is_no_reference() -> None:
    """A text with `$${C}` was said to come from outside, and written nowhere."""
    web = planned(SHOP.replace('"red $1 one"', '"$${C} $$"')).services[0]
    assert web.env["COLOR"] == "${C} $"
    assert "COLOR" not in web.references


def test_a_fleet_of_several_hosts_is_exported_whole_and_so_said() -> None:
    """The replicas of hosts were left out in silence, and a beat that no host has was started."""
    hosts = "hosts: {a: [web], b: {pools: [web, video], replicas: {video: 4}}}\n"
    fleet = planned(SHOP + hosts)
    assert {one.name: one.replicas for one in fleet.services} == {"web": 4, "video": 4}
    said = "which of `hosts` runs what: a pool has the replicas of all of them together (web 4, video 4)"
    assert said in fleet.notes
    (beat,) = (one for one in planned(SHOP + hosts.replace("a: [web]", "a: [web, beat]")).services if not one.pool)
    assert beat.replicas == 1


def test_a_pool_that_scales_on_several_hosts_scales_as_far_in_all() -> None:
    text = (
        SHOP.replace("    replicas: 2", "    autoscale: {min: 1, max: 4}")
        + "hosts: {a: [web], b: [web, video], c: [beat]}\n"
    )
    web = next(service for service in planned(text, Format.KEDA).services if service.name == "web")
    assert web.pool
    assert web.pool.autoscale
    assert (web.replicas, web.pool.autoscale.min, web.pool.autoscale.max) == (2, 2, 8)


def test_compose_is_told_not_to_start_a_worker_again_that_may_never_die() -> None:
    """To docker `on-failure:0` is any number of times."""
    text = SHOP.replace("    replicas: 2", "    restart: {max_restarts: 0}")
    web = yaml.safe_load(written(Format.COMPOSE, text).texts["compose.yaml"])["services"]["web"]
    assert web["restart"] == "no"


def test_alerts_are_said_to_be_the_supervisors() -> None:
    text = SHOP + "alerts: [{when: no_beat, for: 1m, command: [mail]}]\n"
    assert "alerts: they are told by the supervisor" in planned(text).notes


#: its variables are in two files, and one of a pool's own is there too
FILES = SHOP.replace("beat: true", "env_file: [.env, /etc/shop/db env]").replace("API_TOKEN: hush, ", "")
IN_FILES = ("PASSWORD", "COLOR", "HOME_URL", "DATABASE", "CELERY_RESULT_BACKEND")


def test_compose_reads_env_files_from_where_they_are_and_lets_nothing_take_their_variables_away() -> None:
    """`PASSWORD:` without a value, which compose finds nowhere, removes what the env file sets."""
    whole = yaml.safe_load(written(Format.COMPOSE, FILES, "/srv/shop/deploy", IN_FILES).texts["compose.yaml"])
    web = whole["services"]["web"]
    assert web["env_file"] == ["../.env", "../../../etc/shop/db env"]
    assert None not in web["environment"].values()
    assert web["environment"]["COLOR"] == "red $$1 one"
    here = yaml.safe_load(written(Format.COMPOSE, FILES).texts["compose.yaml"])
    assert here["services"]["web"]["env_file"] == [".env", "../../etc/shop/db env"]
    assert here["services"]["web"]["environment"]["PASSWORD"] is None


def test_a_unit_wants_no_file_of_its_own_where_env_files_have_all_and_a_pools_variable_wins() -> None:
    """To systemd an env file goes before Environment=, and a file that is not there is an error."""
    files = written(Format.SYSTEMD, FILES, in_files=IN_FILES)
    unit = files.texts["shop-web@.service"]
    assert re.findall("EnvironmentFile=(.*)", unit) == ["/srv/shop/.env", "/etc/shop/db env"]
    assert 'ExecStart=/usr/bin/env "COLOR=red $$1 one" celery -A' in unit
    assert "shop.env" not in "".join(files.notes)
    other = written(Format.SYSTEMD, FILES)
    assert "EnvironmentFile=/srv/shop/shop.env" in other.texts["shop-web@.service"]
    assert "/srv/shop/shop.env must set PASSWORD" in "".join(other.notes)


def test_the_path_of_a_units_program_is_taken_as_it_is() -> None:
    """systemd replaces nothing in it, not even `$$`."""
    fleet = replace(planned(kind=Format.SYSTEMD), celery="/srv/a$b/bin/celery")
    unit = engine(Format.SYSTEMD).files(fleet, "/srv/shop").texts["shop-web@.service"]
    assert "ExecStart=/srv/a$b/bin/celery -A" in unit


@pytest.mark.parametrize("value", ["r'e$d 100%", 'say "x"!', "a\\b,c=d", " lead ", "a;b#c", ""])
def test_supervisords_own_reader_takes_each_variable(value: str) -> None:
    """A double quote ended its start, and a backslash came twice: it knows no escapes."""
    text = SHOP.replace('"red $1 one"', json.dumps(value.replace("$", "$$")))
    config = RawConfigParser(inline_comment_prefixes=(";", "#"))
    config.read_string(written(Format.SUPERVISORD, text).texts["shop.conf"])
    found = dict_of_key_value_pairs(config["program:web"]["environment"].replace("%%", "%"))
    assert found["COLOR"] == value
    back = imports.read(written(Format.SUPERVISORD, text).texts["shop.conf"], "shop.conf", lambda path: None)
    assert back.programs[0].env["COLOR"] == value


@pytest.mark.parametrize("value", ["'x'", 'it\'s "x"', "a ;b", "a #b"])
def test_what_supervisord_cannot_be_told_is_asked_of_its_environment(value: str) -> None:
    files = written(Format.SUPERVISORD, SHOP.replace('"red $1 one"', json.dumps(value)))
    assert "COLOR=" not in files.texts["shop.conf"]
    assert any("must be started with" in note and "COLOR" in note for note in files.notes)
    with pytest.raises(FleetError, match="supervisord cannot be told of /srv/a #b"):
        written(Format.SUPERVISORD, folder="/srv/a #b")
