"""Verdicts by test name, and where two runs differ."""

from __future__ import annotations

from conformance import verdicts

PLAIN = """<testsuites><testsuite>
<testcase classname="t.test_canvas" name="test_chain"/>
<testcase classname="t.test_canvas" name="test_chord"><failure message="no">no</failure></testcase>
<testcase classname="t.test_tasks" name="test_retry"><skipped/></testcase>
<testcase classname="t.test_tasks" name="test_once"/>
</testsuite></testsuites>"""


def test_each_test_has_one_verdict() -> None:
    found = verdicts.read(PLAIN)
    assert found == {
        "t.test_canvas::test_chain": "passed",
        "t.test_canvas::test_chord": "failure",
        "t.test_tasks::test_retry": "skipped",
        "t.test_tasks::test_once": "passed",
    }
    assert verdicts.summary(found) == "1 failure, 2 passed, 1 skipped"


def test_what_ends_otherwise_or_did_not_run_differs() -> None:
    plain = {"a": "passed", "b": "failure", "c": "passed"}
    fleet = {"a": "passed", "b": "passed", "d": "passed"}
    assert list(verdicts.differences(plain, fleet)) == [
        ("b", "failure", "passed"),
        ("c", "passed", "did not run"),
        ("d", "did not run", "passed"),
    ]


def test_a_test_with_passed_and_failed_parts_has_failed() -> None:
    """Subtests have entries of their own under the name of their test."""
    case = '<testcase classname="t" name="test"/>'
    failed = '<testcase classname="t" name="test"><failure/></testcase>'
    assert verdicts.read(f"<testsuite>{failed}{case}</testsuite>") == {"t::test": "failure"}
