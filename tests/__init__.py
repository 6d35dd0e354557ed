"""Three tiers: `unit` needs no service and answers in seconds, `services` talks to brokers, `e2e` runs fleets."""

from __future__ import annotations

from pathlib import Path

#: the folder of the project
ROOT = Path(__file__).parents[1]
