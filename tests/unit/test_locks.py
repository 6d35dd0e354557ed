"""The locks hold what pyproject.toml asks for, on every Python it names, and say where nothing comes from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = {"demo": ["embedded"], "dev": ["dev"], "bench": ["dev", "bench"], "lowest": ["test"]}
PYTHONS = [found[1] for line in PROJECT["classifiers"] if (found := re.search(r"Python :: (\d\.\d+)$", line))]


def asked(extras: list[str]) -> Iterator[Requirement]:
    """Go through what is to be installed, extras of our own resolved."""
    written = [*PROJECT["dependencies"], *PYPROJECT["dependency-groups"]["build"]]
    for extra in extras:
        written += PROJECT["optional-dependencies"][extra]
    for requirement in map(Requirement, written):
        if requirement.name == PROJECT["name"]:
            yield from asked(sorted(requirement.extras))
        else:
            yield requirement


def pins(lock: str, python: str) -> dict[str, Version]:
    """Return the version of each package that a lock installs there, and see that it has hashes."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    found = {}
    for entry in re.findall(r"^[a-z].*(?:\n    .*)*", text, re.MULTILINE):
        requirement = Requirement(entry.partition(" \\")[0])
        assert "--hash=sha256:" in entry, requirement
        there = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
        if requirement.marker is None or requirement.marker.evaluate(there):
            (pin,) = requirement.specifier
            assert pin.operator == "==", requirement
            found[requirement.name] = Version(pin.version)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_has_all_that_is_asked_for_in_a_version_that_will_do(lock: str, python: str) -> None:
    found = pins(lock, python)
    for requirement in asked(EXTRAS[lock]):
        assert requirement.name.lower() in found, f"{requirement}: run `make lock`"
        assert found[requirement.name.lower()] in requirement.specifier, f"{requirement}: run `make lock`"


def test_the_lowest_are_the_lower_bounds() -> None:
    found = pins("lowest", PYTHONS[0])
    for requirement in asked(EXTRAS["lowest"]):
        (bound,) = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        assert found[requirement.name.lower()].release[: len(bound.release)] == bound.release, requirement


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_names_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    assert not re.search(r"://|--(index|extra-index|find-links)|@ ", text)


def test_the_lock_holds_what_the_build_needs() -> None:
    assert PYPROJECT["dependency-groups"]["build"] == PYPROJECT["build-system"]["requires"]
