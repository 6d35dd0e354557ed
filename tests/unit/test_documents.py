"""What the documents show works: the real loader reads their fleets, and the templates are what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celeryfleet.fleetfile.load import parse
from celeryfleet.machine import facts
from celeryfleet.plan.build import build
from tests import ROOT

TEMPLATES = ROOT / "celeryfleet" / "cli" / "templates"


def snippets(document: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


#: documents whose yaml is whole fleets; the pages of `check` and of `graph` have tests of their own
WHOLE = [
    "README.md",
    "docs/brokers.md",
    "docs/django.md",
    "docs/existing-app.md",
    "docs/fleet.md",
    "docs/hosts.md",
    "docs/priorities.md",
    "docs/rabbitmq.md",
    "docs/redis.md",
    "docs/routing.md",
]


@pytest.mark.parametrize("document", WHOLE)
def test_every_fleet_in_the_documents_is_valid(document: str) -> None:
    found = snippets(document)
    assert found
    for text in found:
        fleet = parse(text.replace("env_file: [.env]", ""), f"/srv/shop/{document}", {})
        assert build(fleet, facts(fleet)).pools


def test_the_demo_template_is_the_repository_s_own_fleet() -> None:
    assert (TEMPLATES / "demo.yaml").read_text("utf-8") == (ROOT / "fleet.yaml").read_text("utf-8")


@pytest.mark.parametrize("document", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")))
def test_every_page_is_led_to_and_its_links_lead_somewhere(document: str) -> None:
    everything = "".join(path.read_text("utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    assert Path(document).name in everything
    text = (ROOT / document).read_text("utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / document).parent / link).exists(), link


def test_the_first_screen_of_the_readme_names_both_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:25])
    assert "make demo" in screen
    assert "make test" in screen
    assert len(snippets("README.md")[0].splitlines()) <= 12
