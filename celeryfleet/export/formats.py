"""The formats of `export`, by their names: each a module that writes a Deployment for one engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celeryfleet.export.service import Deployment, Files


class Format(StrEnum):
    """What `export` writes: each is a module of this package with a function `files`."""

    COMPOSE = "compose"
    SYSTEMD = "systemd"
    SUPERVISORD = "supervisord"
    PROCFILE = "procfile"
    K8S = "k8s"
    KEDA = "keda"


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs the services."""

    name: str
    #: what it makes of a fleet, written to this folder: absolute, or empty where it is printed
    files: Callable[[Deployment, str], Files]
    #: URL of the Redis that it brings where the fleet has an embedded broker; empty: it brings none
    broker: str = ""
    #: whether it carries a pool's `autoscale` over
    scales: bool = False


def engine(kind: Format) -> Engine:
    """Import what writes a format: `files`, and where it has them `BROKER` and `SCALES`."""
    module = import_module(f"celeryfleet.export.{kind}")
    return Engine(str(kind), module.files, getattr(module, "BROKER", ""), getattr(module, "SCALES", False))
