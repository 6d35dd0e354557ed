"""Small fleets to plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.plan.build import build
from celeryfleet.plan.facts import Facts
from celeryfleet.plan.values import Plan

FACTS = Facts(host="host", cpus=4, folder="/srv/shop", uid=1000)


def fleet_of(text: str, environ: Mapping[str, str] | None = None) -> Fleet:
    """Read a fleet.yaml that lies in /srv/shop."""
    return parse(text, "/srv/shop/fleet.yaml", environ or {})


def plan_of(text: str, environ: Mapping[str, str] | None = None) -> Plan:
    return build(fleet_of(text, environ), FACTS)


def fleet_text(**keys: Any) -> str:
    """Write a fleet with two queues and one pool that reads both, and these keys besides."""
    whole = {
        "name": "shop",
        "app": "shop.celery:app",
        "queues": {"default": {}, "video": {}},
        "default_queue": "default",
        "pools": {"web": {"queues": ["video", "default"]}},
        **keys,
    }
    return json.dumps(whole)  # JSON is YAML
