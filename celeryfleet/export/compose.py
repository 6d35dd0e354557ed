"""A compose file: a service for each pool, and a Valkey where the fleet has a broker of its own."""

from __future__ import annotations

import math
import os
from typing import Any

from celeryfleet.export.service import ALIVE_VARIABLE, SETTINGS, SETTINGS_VARIABLE, Deployment, Files, Service
from celeryfleet.export.yamltext import Text, dumped
from celeryfleet.plan.values import RestartPolicy
from celeryfleet.text import duration

BROKER = "redis://celery-broker:6379/0"
_SETTINGS = f"/etc/celeryfleet/{SETTINGS}"
_ALIVE = "/tmp/celeryfleet-alive"
_VALKEY = {
    "image": "valkey/valkey:8",
    "command": ["valkey-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction"],
    "volumes": ["valkey:/data"],
    "healthcheck": {"test": ["CMD", "valkey-cli", "ping"], "interval": "5s"},
    "restart": "unless-stopped",
}


def files(fleet: Deployment, folder: str) -> Files:
    """Write one file that holds the settings, too."""
    services = {service.name: _service(fleet, service, folder) for service in fleet.services}
    whole: dict[str, Any] = {"name": _word(fleet), "services": services}
    if fleet.embedded:
        whole |= {"services": {"celery-broker": _VALKEY, **services}, "volumes": {"valkey": None}}
    whole["configs"] = {"celery-settings": {"content": Text(_plain(fleet.settings))}}
    image = f"the image must hold the app, Celery and celeryfleet; its name is $CELERYFLEET_IMAGE, else {_word(fleet)}"
    head = f"# The fleet {fleet.fleet}, written by `celeryfleet export compose`.\n"
    restarts = [service.name for service in fleet.services if service.pool and _partly(service.pool.restart)]
    notes = [f"restart of {', '.join(restarts)}: of it compose has max_restarts alone"] if restarts else []
    if any(service.pool is None for service in fleet.services):
        notes.append("beat forgets in a new container when it last sent each task: a seldom one may run twice or not")
    unhealthy = "compose shows a worker that hangs as unhealthy, and does not start it again"
    text = head + dumped(whole)
    return Files({"compose.yaml": text}, (image, unhealthy, *notes))


def _service(fleet: Deployment, service: Service, folder: str) -> dict[str, Any]:
    # As they are where compose is run; it would take away what an env file sets.
    passed: dict[str, str | None] = {name: None for name in service.references if name not in fleet.in_files}
    env = {SETTINGS_VARIABLE: _SETTINGS, ALIVE_VARIABLE: _ALIVE, **service.env}
    command = service.command(service.name, "/tmp/beat-schedule")
    whole: dict[str, Any] = {
        "image": f"${{CELERYFLEET_IMAGE:-{_word(fleet)}}}",
        "command": list(map(_plain, command)),
        "environment": {**{key: _plain(text) for key, text in env.items()}, **passed, **_made(fleet, service)},
        "env_file": [os.path.relpath(path, folder or fleet.folder) for path in fleet.env_paths()],
        "configs": [{"source": "celery-settings", "target": _SETTINGS}],
        "init": True,
        "stop_grace_period": duration(service.grace),
        "restart": "unless-stopped",
        "depends_on": {"celery-broker": {"condition": "service_healthy"}} if fleet.embedded else {},
        "deploy": {"replicas": service.replicas},
    }
    if service.pool is not None:
        probe = [_plain(word) for word in service.probe(_ALIVE)]
        whole["healthcheck"] = {"test": ["CMD", *probe], "interval": "10s", "start_period": "60s"}
        if (most := service.pool.restart.max_restarts) != RestartPolicy().max_restarts:
            whole["restart"] = f"on-failure:{most}" if most else "no"  # on-failure:0 is any number
    if service.memory:
        whole["deploy"]["resources"] = {"limits": {"memory": f"{math.ceil(service.memory / 1024**2)}M"}}
    return {key: value for key, value in whole.items() if value or value == 0}


def _made(fleet: Deployment, service: Service) -> dict[str, str]:
    """Return the variables that are made of others; one that is its own name alone is passed."""
    return {name: text for name, text in fleet.own(service).items() if text != f"${{{name}}}"}


def _word(fleet: Deployment) -> str:
    """Name the fleet as compose names projects and images."""
    return fleet.fleet.lower().replace(".", "-")


def _partly(restart: RestartPolicy) -> bool:
    usual = RestartPolicy(max_restarts=restart.max_restarts)
    return restart != usual


def _plain(text: str) -> str:
    """Write a text in which compose replaces nothing."""
    return text.replace("$", "$$")
