"""The codes of errors that have a page of their own: what can be wrong with a fleet.yaml; lint/ has all others."""

from __future__ import annotations

from typing import Final

UNKNOWN_QUEUE: Final = "CF001"
UNKNOWN_SETTING: Final = "CF002"
OLD_SETTING: Final = "CF003"
OWNED_SETTING: Final = "CF004"
UNKNOWN_KEY: Final = "CF005"
UNKNOWN_EXCHANGE: Final = "CF006"
DEFINITION_DIFFERS: Final = "CF045"
