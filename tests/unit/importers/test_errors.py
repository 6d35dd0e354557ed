"""Files of which no fleet can be made, and what is said of them; and the command itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def test_workers_of_different_apps_are_refused_with_who_has_which() -> None:
    text = (FILES / "two-apps.yml").read_text("utf-8")
    assert refused("compose", text) == (
        "FILE: the workers run 2 different apps, and a fleet has one. "
        "shop.celery:app: mail (FILE:3) and sms (FILE:7)\n"
        "blog: posts (FILE:5)\n"
        "Make a fleet of each: --app shop.celery:app takes its workers only."
    )


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
        ("procfile", "w: /start-celery.sh\n", "`celeryfleet import multi SCRIPT` reads it"),
        ("procfile", "w: celery -A x worker 'a\n", "FILE:1: no shell could read this: No closing quotation"),
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


# --- The command ------------------------------------------------------------------------------------------


def run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celeryfleet", *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )


def test_the_fleet_goes_to_stdout_and_what_is_lost_to_stderr(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q mail -B\n")
    done = run(tmp_path, "import", "procfile", "Procfile")
    assert done.returncode == 0
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["mail"]
    assert "not taken: Procfile:1 w: `-B`" in done.stderr
    assert "Procfile: 1 pool (w); not taken: 3" in done.stderr


def test_a_file_is_written_but_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("w: celery -A shop worker\n")
    first = run(tmp_path, "import", "procfile", "Procfile", "-o", "fleet.yaml")
    assert (first.returncode, first.stdout) == (0, "")
    written = (tmp_path / "fleet.yaml").read_text()
    assert parse(written, "/fleet.yaml", {}).app == "shop"
    second = run(tmp_path, "import", "procfile", "Procfile", "-o", "fleet.yaml")
    assert second.returncode == 2
    assert "fleet.yaml exists, and import never overwrites." in second.stderr
    assert (tmp_path / "fleet.yaml").read_text() == written


def test_json_holds_the_file_and_every_note(tmp_path: Path) -> None:
    done = run(
        tmp_path, "import", "compose", "-", "--json", stdin="services: {w: {command: celery -A shop worker -B}}\n"
    )
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    (file,) = document["files"]
    assert (file["name"], file["path"]) == ("fleet.yaml", None)
    assert parse(file["text"], "/fleet.yaml", {}).app == "shop"
    assert document["pools"] == [{"name": "w", "from": ["<stdin>:1 w"]}]
    assert {"not taken", "changed"} >= {note["kind"] for note in document["notes"]} >= {"not taken"}


def test_variables_may_come_from_an_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QUEUES=a,b\n")
    (tmp_path / "Procfile").write_text("w: celery -A shop worker -Q $QUEUES\n")
    done = run(tmp_path, "--env-file", ".env", "import", "procfile", "Procfile")
    assert list(parse(done.stdout, "/fleet.yaml", {}).queues) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("procfile", "nowhere"), "there is no file nowhere."),
        (("procfile", "."), ". cannot be read: Is a directory."),
        (("procfile", "binary"), "binary: the file is no text."),
        (("procfile", "latin"), "latin:2:1: the file is not UTF-8."),
        (("docker", "binary"), "'docker' is not one of"),
        (
            ("procfile", "Procfile", "-o", "no/fleet.yaml"),
            "no/fleet.yaml cannot be written: No such file or directory.",
        ),
    ],
)
def test_a_wrong_call_ends_with_2_and_a_reason(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    (tmp_path / "latin").write_bytes(b"# ok\nw: caf\xe9\n")
    (tmp_path / "Procfile").write_text("w: celery -A shop worker\n")
    done = run(tmp_path, "import", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
