"""Image compression, pretended."""

from __future__ import annotations

import os
import random
from typing import TypedDict

from loguru import logger

from celeryfleet.demo.libs.pace import work


class Compressed(TypedDict):
    """A compressed image."""

    image: str
    #: size after to size before
    ratio: float


def compress(filename: str) -> Compressed:
    """Compress an image file; raises FileNotFoundError (see `_is_missing`)."""
    logger.debug(f"Opening <{filename}>...")
    if _is_missing(filename):
        raise FileNotFoundError(f"No such image: {filename}")
    logger.debug("Compressing...")
    work(0.5)
    logger.debug("Image compressed.")
    return {"image": filename, "ratio": 0.6}


def _is_missing(filename: str) -> bool:
    """Tell whether the file counts as missing: by its name, or by chance as DEMO_FAILURE_RATE (0 to 1) says."""
    return "missing" in filename or random.random() < float(os.environ.get("DEMO_FAILURE_RATE", "0"))
