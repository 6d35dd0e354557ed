"""Closes what Django has open before a fork, after which processes would share it."""

from __future__ import annotations

import sys
from typing import Any


def close() -> None:
    """Close the connections to databases and caches that importing the app has opened.

    SQLite's are files, which nobody would notice; those of PostgreSQL would else keep the workers from being forked.
    """
    if "django.db" not in sys.modules:
        return
    from django.conf import settings
    from django.core.cache import close_caches
    from django.db import connections

    if not settings.configured:
        return
    connection: Any
    for connection in connections.all(initialized_only=True):
        connection.close()
        if settings.DATABASES.get(connection.alias, {}).get("OPTIONS", {}).get("pool"):
            connection.close_pool()  # it has threads
    close_caches()
