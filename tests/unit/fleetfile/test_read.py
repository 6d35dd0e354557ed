"""Files on the disk: where fleet.yaml is found, its override, its env files, and what is no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import find, read

QUEUES = "queues: {default: , mail: }\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / {"fleet": "fleet.yaml", "override": "fleet.override.yaml"}.get(name, name)).write_text(text)


def problems(file: Path, **environ: str) -> str:
    with pytest.raises(FleetError) as caught:
        read(file, environ)
    return str(caught.value)


# --- Finding ----------------------------------------------------------------------------------------------


def test_a_fleet_is_found_here_or_in_a_folder_above(folder: Path) -> None:
    write(folder, fleet=QUEUES)
    (folder / "a" / "b").mkdir(parents=True)
    assert find(folder) == find(folder / "a" / "b") == folder / "fleet.yaml"


def test_where_there_is_none_the_way_to_one_is_shown(folder: Path) -> None:
    with pytest.raises(FleetError) as caught:
        find(folder)
    assert str(caught.value) == (
        f"there is no fleet.yaml in {folder} or a folder above it. `celeryfleet init` writes one that runs as it is."
    )
    write(folder, **{"fleet.yml": QUEUES})
    with pytest.raises(FleetError, match=r"Rename fleet\.yml to fleet\.yaml, or name it with -f"):
        find(folder)


def test_messages_name_the_file_as_short_as_can_be(folder: Path) -> None:
    write(folder, fleet="queues: []\n")
    said = "fleet.yaml:1:9: queues must be a mapping, but it is a list."
    assert problems(folder / "fleet.yaml") == problems(Path("fleet.yaml")) == said
    (folder / "a").mkdir()
    assert problems(Path("a/../fleet.yaml")) == f"a/../{said}"


def test_the_fleet_knows_its_absolute_path(folder: Path) -> None:
    write(folder, fleet=QUEUES)
    assert read(Path("fleet.yaml"), {}).file == str(folder / "fleet.yaml")


# --- What is no text --------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_says_so(folder: Path) -> None:
    assert problems(Path("fleet.yaml")) == (
        "there is no file fleet.yaml. `celeryfleet init` writes one that runs as it is."
    )
    assert problems(Path("other.yaml")) == "there is no file other.yaml."


def test_a_folder_cannot_be_read(folder: Path) -> None:
    assert problems(folder) == f"{Path()} cannot be read: Is a directory."


def test_a_binary_file_is_refused(folder: Path) -> None:
    (folder / "fleet.yaml").write_bytes(b"queues:\n  \xff\xfe\x00")
    assert problems(Path("fleet.yaml")) == (
        "fleet.yaml:2:1: the file is not UTF-8. Is it the right file? A fleet.yaml is plain text in UTF-8."
    )


def test_a_huge_file_is_refused_unread(folder: Path) -> None:
    with (folder / "fleet.yaml").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    assert problems(Path("fleet.yaml")) == "fleet.yaml: the file is larger than 1024 KiB. Is it the right file?"


def test_a_device_without_an_end_is_refused() -> None:
    assert problems(Path("/dev/zero")) == "/dev/zero: the file is larger than 1024 KiB. Is it the right file?"


# --- The override -----------------------------------------------------------------------------------------


def test_the_override_adds_to_mappings_and_replaces_the_rest(folder: Path) -> None:
    write(
        folder,
        fleet="""\
name: shop
broker: redis://base
celery: {task_acks_late: true, broker_transport_options: {a: 1, b: 1}}
queues: {default: {max_age: 1s}, mail: }
routes: [{task: a.*, queue: mail}]
pools:
  web: {queues: [default, mail], concurrency: 2, env: {A: a, B: b}}
x-note: base
""",
        override="""\
broker: {visibility_timeout: 1m}
celery: {broker_transport_options: {b: 2}}
queues: {default: , late: }
routes: [{task: a.b, queue: late}]
pools:
  web: {queues: [mail], env: {B: c}}
  more: {queues: [late]}
x-note: override
""",
    )
    fleet = read(Path("fleet.yaml"), {})
    assert (fleet.name, fleet.broker.url, fleet.broker.visibility_timeout) == ("shop", "redis://base", 60)
    assert fleet.celery == {"task_acks_late": True, "broker_transport_options": {"a": 1, "b": 2}}
    assert {name: queue.max_age for name, queue in fleet.queues.items()} == {"default": 1, "mail": None, "late": None}
    assert [(route.task, route.line) for route in fleet.routes] == [("a.b", 4), ("a.*", 5)]
    web = fleet.pools["web"]
    assert (web.queues, web.concurrency, web.env) == (("mail",), 2, {"A": "a", "B": "c"})
    assert list(fleet.pools) == ["web", "more"]
    assert fleet.where("routes", 0) == "fleet.override.yaml:4:10"
    assert fleet.where("routes", 1) == "fleet.yaml:5:10"
    assert fleet.where("pools", "web") == "fleet.yaml:7:3"
    assert fleet.where("pools", "more") == "fleet.override.yaml:7:3"


def test_a_short_override_of_a_long_broker_replaces_its_url(folder: Path) -> None:
    write(
        folder,
        fleet=f"{QUEUES}broker: {{url: redis://base, visibility_timeout: 2m}}\n",
        override="broker: redis://over\n",
    )
    broker = read(Path("fleet.yaml"), {}).broker
    assert (broker.url, broker.visibility_timeout) == ("redis://over", 120)


def test_a_problem_is_placed_in_the_file_that_has_it(folder: Path) -> None:
    write(folder, fleet=f"{QUEUES}pools: {{web: {{queues: [mial]}}}}\n", override="pools: {api: {queues: [late]}}\n")
    assert problems(Path("fleet.yaml")) == (
        'fleet.yaml:2:24: pool "web" reads the unknown queue "mial". Did you mean "mail"? '
        "Queues are declared at line 1.\n"
        'fleet.override.yaml:1:24: pool "api" reads the unknown queue "late". '
        "Queues are declared at fleet.yaml, line 1."
    )


def test_a_variable_that_only_the_overridden_value_needs_is_not_needed(folder: Path) -> None:
    write(folder, fleet=f"{QUEUES}broker: ${{BROKER:?}}\n", override="broker: embedded\n")
    assert read(Path("fleet.yaml"), {}).broker.url == "embedded"


def test_an_override_may_be_empty_but_not_a_list(folder: Path) -> None:
    write(folder, fleet=QUEUES, override="# nothing\n")
    assert read(Path("fleet.yaml"), {}).default_queue == "default"
    write(folder, override="- a\n")
    assert problems(Path("fleet.yaml")).startswith("fleet.override.yaml:1:1: the file must be a mapping")


# --- Env files --------------------------------------------------------------------------------------------


def test_the_environment_wins_over_given_files_and_those_over_the_fleets_own(folder: Path) -> None:
    write(folder, fleet=f"env_file: [a.env, b.env]\n{QUEUES}name: ${{A}}${{B}}${{C}}${{D}}\n")
    write(folder, **{"a.env": "A=a\nB=a\nC=a\nD=a\n", "b.env": "B=b\nC=b\nD=b\n", "c.env": "C=c\nD=c\n"})
    fleet = read(Path("fleet.yaml"), {"D": "d", "E": "e"}, [Path("c.env")])
    assert fleet.name == "abcd"
    assert fleet.variables == {"A": "a", "B": "b", "C": "c"}


def test_an_env_file_may_be_named_alone_and_by_a_variable(folder: Path) -> None:
    (folder / "conf").mkdir()
    write(folder, fleet=f"env_file: ${{STAGE}}.env\n{QUEUES}name: ${{A}}\n", **{"dev.env": "export A='x'\n"})
    assert read(folder / "fleet.yaml", {"STAGE": "dev"}).name == "x"


def test_an_env_file_that_is_not_there_is_a_problem_with_its_place(folder: Path) -> None:
    write(folder, fleet=f"{QUEUES}env_file:\n  - no.env\n  - 3\n")
    assert problems(Path("fleet.yaml")) == (
        'fleet.yaml:3:5: env_file names "no.env", which does not exist. '
        "Its path is relative to the folder of fleet.yaml.\n"
        'fleet.yaml:4:5: env_file names "3", which does not exist. Its path is relative to the folder of fleet.yaml.'
    )


def test_a_bad_line_of_an_env_file_is_a_problem_that_keeps_its_value(folder: Path) -> None:
    write(folder, fleet=f"{QUEUES}env_file: .env\n", **{".env": "A=1\nPASS WORD=hunter2\nB='hunter2\n"})
    assert problems(Path("fleet.yaml")) == (
        '.env:2:1: this line ("PASS") is not KEY=value. Write one variable in a line, and # before a comment.\n'
        ".env:3:1: the value of B has a quote that is not closed, or something after it. Close the quote."
    )


def test_a_given_env_file_that_is_not_there_is_a_problem(folder: Path) -> None:
    write(folder, fleet=QUEUES)
    with pytest.raises(FleetError, match=r"^there is no file no\.env\.$"):
        read(Path("fleet.yaml"), {}, [Path("no.env")])


def test_a_name_that_no_file_can_have_is_a_problem_too(folder: Path) -> None:
    write(folder, fleet=f"{QUEUES}env_file: {'x' * 300}\n")
    assert "File name too long" in problems(Path("fleet.yaml"))
