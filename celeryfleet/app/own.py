"""What an app says by itself, not counting Celery's defaults."""

from __future__ import annotations

import difflib
import re
from typing import Any

#: how alike a name and a setting must be for a typing error: `task_task_routes` is, `task_queue_of_mine` is not
_ALIKE = 0.8
_NAMES = re.compile(
    r"(task|worker|broker|results?|beat|event|control|accept)_[a-z_]+|(CELERY|CELERYD|CELERYBEAT|BROKER)_[A-Z_]+"
)


def says(app: Any, key: str) -> bool:
    """Tell whether somebody has given this setting a value: the app, or whoever was before in this process."""
    return app.conf.value_set_for(key) and app.conf.get(key) is not None


def own_settings(app: Any) -> dict[str, Any]:
    """Return the settings that an app makes itself. Read them before the fleet's are applied."""
    from celery.app.defaults import DEFAULTS

    found = {key: app.conf.get(key) for key in DEFAULTS if says(app, key)}
    urls = {"broker_url": app.conf.broker_url, "result_backend": app.conf.result_backend}  # from variables, too
    return found | {key: url for key, url in urls.items() if url}


def unknown_settings(app: Any) -> dict[str, str]:
    """Return names in an app's settings that are no setting, but almost one → that one."""
    from celeryfleet.fleetfile.settings import installed

    conf = app.conf.finalize()
    known, prefix = installed(), conf.prefix or ""
    written = {name for source in conf.maps[:-1] for name in source if isinstance(name, str)}
    found = {}
    for name in sorted(written):
        bare = name[len(prefix) :].lower() if prefix and name.startswith(prefix) else name
        if bare in known or (prefix and bare == name) or not _NAMES.fullmatch(bare) or callable(conf.get(name)):
            continue
        near = difflib.get_close_matches(bare, known, 1, _ALIKE)
        if near:
            found[name] = f"{prefix}{near[0].upper()}" if prefix else near[0]
    return found
