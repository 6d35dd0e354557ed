"""Reads the settings that `celeryfleet export` wrote, for a worker that another engine runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celeryfleet.app.install import SETTINGS_VARIABLE
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.variables import VariableError, interpolate

#: names the pool whose worker this process is, or beat; it is not set in a producer
POOL_VARIABLE = "CELERYFLEET_POOL"


@dataclass(frozen=True, slots=True)
class Given:
    """What one process of an exported fleet is given."""

    #: of all processes
    settings: Mapping[str, Any]
    #: of this one, and those that hold where neither they nor the app says anything
    conf: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: of its pool, or `beat`; empty: it only sends tasks
    pool: str = ""


def read(environ: Mapping[str, str]) -> Given:
    """Read the file that CELERYFLEET_SETTINGS names. Raises FleetError."""
    file, pool = environ.get(SETTINGS_VARIABLE, ""), environ.get(POOL_VARIABLE, "")
    if not file:
        raise FleetError(f"{SETTINGS_VARIABLE} is not set.", hint="It names the file that `celeryfleet export` wrote.")
    try:
        whole = json.loads(Path(file).read_text("utf-8"))
        own = whole["pools"][pool] if pool else {"conf": {}, "defaults": {}}
        return Given(**{key: _filled(value, environ) for key, value in own.items()}, pool=pool,
            settings=_filled(whole["settings"], environ))  # fmt: skip
    except VariableError as error:
        raise FleetError(f"{file} {error}.", hint="Set it in the environment of this process.") from None
    except OSError as error:
        raise FleetError(f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        hint = "Write it anew with `celeryfleet export`."
        raise FleetError(f"{file} does not tell of {pool or 'a fleet'}.", hint=hint) from error


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, environ) for item in value]
    return interpolate(value, environ) if isinstance(value, str) else value
