"""Files of which no fleet can be made, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import convert

FILES = Path(__file__).parent / "files"


def refused(kind: str, text: str, app: str = "") -> str:
    with pytest.raises(FleetError) as caught:
        convert(text, Ask(kind, "FILE", app))
    return str(caught.value)


def test_workers_of_different_apps_become_pools_of_several_apps() -> None:
    text = (FILES / "two-apps.yml").read_text("utf-8") + "  beat:\n    command: celery -A blog beat\n"
    result = convert(text, Ask("compose", "FILE"))
    fleet = parse(result.text, "/fleet.yaml", {})
    assert {name: app.app for name, app in fleet.apps.items()} == {"shop": "shop.celery:app", "blog": "blog"}
    assert {name: pool.app for name, pool in fleet.pools.items()} == {"mail": "shop", "posts": "blog", "sms": "shop"}
    assert fleet.beat is not None
    assert fleet.beat.app == "blog"
    assert result.app == ""


def test_apps_of_one_name_and_names_that_no_fleet_takes_are_told_apart() -> None:
    commands = ("a.tasks:app", "b.tasks:app", "c._:app")
    text = "\n".join(f"w{number}: celery -A {app} worker" for number, app in enumerate(commands))
    fleet = parse(convert(text, Ask("procfile", "FILE")).text, "/fleet.yaml", {})
    assert [app.app for app in fleet.apps.values()] == list(commands)


def test_one_app_of_several_can_be_chosen() -> None:
    text = (FILES / "two-apps.yml").read_text("utf-8")
    result = convert(text, Ask("compose", "FILE", "blog"))
    assert list(result.pools) == ["posts"]
    assert "FILE:3 mail: it runs another app, shop.celery:app" in map(str, result.notes)
    assert refused("compose", text, "other").startswith("FILE: no worker runs the app other. shop.celery:app: mail")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("procfile", "w: celery worker\n", "FILE:1: w names no app: it has no -A. Name it: --app shop.celery"),
        ("procfile", "w: python manage.py celery worker\n", "`manage.py celery` is django-celery's"),
        ("procfile", "w: celery -A shop/celery.py worker\n", 'FILE:1: the app is "shop/celery.py"'),
        ("procfile", "web: gunicorn x\n", "FILE:1 web: gunicorn x"),
        ("procfile", "", "no Celery worker was found. Looked for `celery … worker`"),
        ("procfile", "w: /start-celery.sh\n", "the script /start-celery.sh is not found here. Give the script that it"),
        ("procfile", "w: celery -A x worker 'a\n", "FILE:1: w: no shell could read this: No closing quotation."),
        ("procfile", "w: celery -A x worker $'a\n", "FILE:1: w: no shell could read this: No closing quotation."),
        ("compose", "services:\n  a: [\n", "FILE:3:1: this is no YAML"),
        ("compose", "services:\n  a:\n    command: x\n  a:\n    command: y\n", "FILE:4:3: the key a is written twice"),
        ("compose", "a: b\n", "FILE: this is no compose file: it has no services."),
        ("compose", "w: celery -A shop worker\n", "It is read by `celeryfleet import procfile FILE`."),
        ("procfile", "services: {a: {command: celery -A shop worker}}\n", "FILE: this is a compose file."),
        (
            "multi",
            "[program:a]\ncommand=celery -A shop worker\n",
            "It is read by `celeryfleet import supervisord FILE`",
        ),
        ("supervisord", "[unix_http_server]\n", "this is no configuration of supervisord"),
        ("supervisord", "command=x\n", "this is no configuration of supervisord: File contains no section headers."),
    ],
)
def test_a_file_that_does_not_serve_is_refused_with_a_reason(kind: str, text: str, message: str) -> None:
    assert message in refused(kind, text)


def test_a_commands_credential_is_not_shown_in_an_error() -> None:
    message = refused("procfile", "w: psql --password=s3 x\nv: curl https://u:s3@h\nu: A=s3 run\n")
    assert "s3" not in message


def test_a_broker_that_fleet_yaml_would_refuse_is_left_out_and_not_shown() -> None:
    result = convert("w: celery -A shop -b localhost:s3cret@h worker\n", Ask("procfile", "FILE"))
    assert "FILE:1: --broker is nothing that fleet.yaml takes as `broker:`" in map(str, result.notes)
    assert "s3cret" not in result.text


def test_an_app_may_be_named_where_no_worker_does() -> None:
    result = convert("w: celery worker\n", Ask("procfile", "FILE", "shop.celery"))
    assert parse(result.text, "/fleet.yaml", {}).app == "shop.celery"


def test_a_settings_module_that_python_could_not_import_stays_in_the_environment() -> None:
    """It was written as `django:`, which fleet.yaml refuses."""
    result = convert("w: DJANGO_SETTINGS_MODULE='a b' celery -A shop worker\n", Ask("procfile", "FILE"))
    (pool,) = parse(result.text, "/fleet.yaml", {}).pools.values()
    assert pool.env == {"DJANGO_SETTINGS_MODULE": "a b"}


def test_a_missing_env_file_is_left_out_and_said() -> None:
    text = "services: {w: {command: celery -A shop worker, env_file: [.env, more.env]}}\n"
    result = convert(text, Ask("compose", "FILE", exists=lambda path: path == ".env"))
    assert "\nenv_file: [.env] " in result.text
    assert "\n# env_file: [more.env] " in result.text
    assert "FILE:1: env_file: there is no more.env; what it sets is missing" in map(str, result.notes)


def test_a_server_beside_the_workers_is_taken_for_the_broker_and_said() -> None:
    text = "services: {w: {command: celery -A shop worker}, cache: {image: 'redis:7'}}\n"
    result = convert(text, Ask("compose", "FILE"))
    assert parse(result.text, "/fleet.yaml", {}).broker.url == "redis://cache:6379/0"
    assert any("no worker is told of another one" in note.what for note in result.notes)
