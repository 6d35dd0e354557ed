"""Each finding has a page, whose example is found, and whose remedy is not; the documents hold the same pages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from celeryfleet.app.router_check import check_routers
from celeryfleet.errors import FleetError
from celeryfleet.lint import Level, Machine, Server, judged, lint
from celeryfleet.lint.ignores import silence
from celeryfleet.lint.registry import CODES, INVALID
from celeryfleet.plan.build import build
from celeryfleet.plan.facts import AppFacts
from tests import ROOT
from tests.unit.lint.cases import GB, PLAIN, tasks
from tests.unit.plan.fleets import FACTS, fleet_of

PAGES = ROOT / "celeryfleet" / "lint" / "pages"
DOCS = ROOT / "docs" / "checks"

#: what the text of a page says beside its example: of the app (before and after it is mended), machine and server
APPS: dict[str, AppFacts | tuple[AppFacts, AppFacts]] = {
    "CF022": tasks(send_mail={}),
    "CF023": tasks(send_mail={}, encode={}),
    "CF026": tasks(send={"queue": "mail"}),
    "CF027": tasks(send={"queue": "mail"}),
    "CF050": (AppFacts(), AppFacts(installs=True)),
    "CF051": (AppFacts(settings={"task_default_queue": "mail"}), AppFacts()),
    "CF052": (tasks(encode={"priority": 9}), tasks(encode={})),
    "CF053": AppFacts(settings={"beat_schedule": {"nightly": {}}}),
    "CF054": tasks(report={}),
    "CF059": AppFacts(installs=True, settings={"task_routes": {"shop.mail.*": {"queue": "mail"}}}),
    "CF063": AppFacts(settings={"broker_url": "redis://redis:6379/0"}),
    "CF064": AppFacts(installs=True, settings={"result_backend": "redis://redis:6379/1"}),
    "CF065": (AppFacts(installs=True, unknown={"task_task_routes": "task_routes"}), AppFacts()),
    "CF058": AppFacts(installs=True, settings={"worker_concurrency": 24}),
}
MACHINES = {
    "CF035": Machine(cpus=4),
    "CF036": Machine(cpus=4, memory=2 * GB, process=48_000_000),
    "CF038": Machine(cpus=4, absent=frozenset({"eventlet"})),
}
#: what the router of a page's example says, before and after it is mended
ROUTERS = {"CF028": ("mial", "mail")}
#: found by asking: a broker (CF045, CF046), or the canvas command's own reader (CF072)
_ASKED = ("CF045", "CF046", "CF072")
#: what ignores in fleet.yaml files may still name
_GIVEN_UP = frozenset({"CF040"})
SERVERS = {"CF043": Server(max_clients=20), "CF044": Server(max_memory=GB, policy="allkeys-lru")}
SERVERS["CF047"] = Server(lacking=("EVALSHA",))


def examples(code: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (PAGES / f"{code}.md").read_text("utf-8"), re.DOTALL)


def found(code: str, text: str, mended: bool = False) -> set[str]:
    apps = APPS.get(code, PLAIN)
    app = apps if isinstance(apps, AppFacts) else apps[mended]
    server = None if code in ("CF044", "CF047") and mended else SERVERS.get(code)
    try:
        fleet = fleet_of(text)
        plan = build(fleet, FACTS)
    except FleetError as error:
        return {problem.code or INVALID.code for problem in error.problems}
    said = ROUTERS.get(code)
    routers = {route.router: lambda *_: said[mended] for route in fleet.routes if route.router} if said else {}
    report = check_routers(fleet, plan.routing, app.tasks, routers) if routers else None
    facts: tuple[Any, ...] = (app, MACHINES.get(code), server, report)
    name = fleet.where().rsplit(":", 2)[0]
    told, _ = silence(lint(fleet, plan, *facts), {name: text}, judged(*facts))
    return {finding.code for finding in told}


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert sorted(page.stem for page in PAGES.glob("*.md")) == sorted(CODES)


def test_a_code_that_was_given_up_does_not_come_back_as_another_finding() -> None:
    assert _GIVEN_UP.isdisjoint(CODES)


@pytest.mark.parametrize("code", [code for code in CODES if code not in _ASKED])
def test_a_page_s_example_is_found_and_its_remedy_is_not(code: str) -> None:
    example, *remedies = examples(code)
    assert code in found(code, example)
    for remedy in remedies or [example]:  # where the remedy is one of the app's code
        assert code not in found(code, remedy, mended=True)


@pytest.mark.parametrize("code", CODES)
def test_a_page_says_what_happens_how_to_fix_it_and_when_to_ignore_it(code: str) -> None:
    rule = CODES[code]
    text = (PAGES / f"{code}.md").read_text("utf-8")
    level = {"error": "Error", "warning": "Warning", "info": "Note"}[rule.level]
    assert text.startswith(f"# {code} {rule.name}\n\n{level}: {rule.title[0].lower()}{rule.title[1:]}.\n\n")
    wanted = ["## What happens", "## How to fix it"]
    wanted += ["An error cannot be silenced."] if rule.level is Level.ERROR else ["## When to ignore it", "To silence"]
    assert [heading for heading in wanted if f"\n{heading}" not in text] == []
    assert max(map(len, text.splitlines())) <= 160


def test_the_documents_hold_the_pages_of_the_package() -> None:
    """Write them with `python scripts/write-checks`."""
    pages = {page.name: page.read_text("utf-8") for page in PAGES.glob("*.md")}
    assert {page.name: page.read_text("utf-8") for page in DOCS.glob("*.md")} == pages
    index = (ROOT / "docs" / "checks.md").read_text("utf-8")
    rows = [line for line in index.splitlines() if line.startswith("| [CF")]
    assert rows == [f"| [{r.code}](checks/{r.code}.md) | {r.name} | {r.level} | {r.title} |" for r in CODES.values()]
