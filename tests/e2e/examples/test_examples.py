"""Each example's own tests, run as its README says: a request or a program, a task, and a real fleet."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.fakes import eventually, processes_of

#: examples, and what must be installed for them
EXAMPLES = {"plain": "celery", "flask": "flask", "fastapi": "fastapi", "django": "django", "airflow": "airflow"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_its_own_tests(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(EXAMPLES[name]) is None:
        pytest.skip(f"needs {EXAMPLES[name]}")
    copy = shutil.copytree(ROOT / "examples" / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CELERY", "DJANGO")) or "TRUST" in k}
    argv = [sys.executable, "-m", "pytest", "-p", "celeryfleet.testing", "-p", "no:cacheprovider", "-q"]
    done = subprocess.run(argv, cwd=copy, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    eventually(lambda: not processes_of(copy))
