"""What pytest wrote about its tests → verdicts by test name, and where two of them differ; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree

Verdicts = Mapping[str, str]

#: what a test is called that did what it should
PASSED = "passed"
_LACKING = "did not run"
_SAID = ("failure", "error", "skipped")


def read(junit: str) -> Verdicts:
    """Return passed, failure, error or skipped for each test of a JUnit file."""
    found: dict[str, str] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        said = [child.tag for child in case if child.tag in _SAID]
        if said or name not in found:  # a subtest has an entry of its own, under the name of its test
            found[name] = said[0] if said else PASSED
    return found


def differences(plain: Verdicts, fleet: Verdicts) -> Iterator[tuple[str, str, str]]:
    """Give the name and both verdicts of each test that ends otherwise through a fleet."""
    for name in sorted({*plain, *fleet}):
        one, other = plain.get(name, _LACKING), fleet.get(name, _LACKING)
        if one != other:
            yield name, one, other


def summary(verdicts: Verdicts) -> str:
    """Count the verdicts: `223 passed, 3 skipped`."""
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(Counter(verdicts.values()).items()))
