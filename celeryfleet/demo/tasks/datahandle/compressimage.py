"""The image compression task."""

from __future__ import annotations

from loguru import logger

from celeryfleet.demo.celery import app
from celeryfleet.demo.libs.image import Compressed, compress


@app.task(name="tasks.datahandle.compressimage.compress_image")
def compress_image(filename: str) -> Compressed:
    """Compress an image; raises FileNotFoundError now and then, and always for a file called `missing…`."""
    logger.info(f"Start compressing image <{filename}>.")
    compressed = compress(filename)
    logger.info("Task completed.")
    return compressed
