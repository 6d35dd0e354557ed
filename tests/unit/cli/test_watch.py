"""Which changes of files `up --watch` takes for changes of the fleet."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from celeryfleet.cli.session import Session
from celeryfleet.cli.watch import _Watcher, concerns
from tests.fakes import eventually


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.py", True),
        ("shop/tasks/mail.py", True),
        ("fleet.yaml", True),
        ("../secrets.env", True),
        ("other.yaml", False),
        ("shop.txt", False),
        (".celeryfleet/shop/x.py", False),
        (".git/hooks/x.py", False),
        (".#shop.py", False),
        ("shop/__pycache__/x.py", False),
        ("myenv/lib/python3.12/x.py", False),
        ("tools/env/x.py", False),
        ("../elsewhere.py", False),
    ],
)
def test_code_and_the_fleets_files_concern_it_and_nothing_that_is_made_or_installed(
    tmp_path: Path, name: str, expected: bool
) -> None:
    folder = tmp_path / ".hidden" / "node_modules"  # what lies above the fleet does not matter
    for environment in ("myenv", "tools/env"):
        (folder / environment).mkdir(parents=True)
        (folder / environment / "pyvenv.cfg").touch()
    files = {folder / "fleet.yaml", tmp_path / ".hidden" / "secrets.env"}
    assert concerns((folder / name).resolve(), folder, files) is expected


def test_a_file_beyond_the_folder_that_is_replaced_during_the_reload_of_its_change_is_seen(tmp_path: Path) -> None:
    """What followed it was not there while it reloaded: the change after the first one was lost."""
    (tmp_path / "shop").mkdir()
    fleet, env, told = tmp_path / "shop" / "fleet.yaml", tmp_path / "shop.env", tmp_path / "told"
    fleet.write_text("env_file: [../shop.env]\nqueues: {default: }\npools: {web: {queues: [default]}}\n")
    env.write_text("GRACE=1s\n")
    (tmp_path / "third.env").write_text("GRACE=3s\n")
    watcher = _Watcher(Session(fleet, env_files=(env,)), ())
    watcher._argv = ["sh", "-c", f"cd {tmp_path}; cat shop.env >> told; mv third.env shop.env 2>&1"]
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        (tmp_path / "second.env").write_text("GRACE=2s\n")
        (tmp_path / "second.env").replace(env)
        eventually(lambda: told.exists() and told.read_text() == "GRACE=2s\nGRACE=3s\n")
    finally:
        watcher.over.set()
        thread.join()
