"""The headers of a message by which Celery and the fleet work: nobody else may set them."""

from __future__ import annotations

OWN = frozenset({
    *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id"),
    *("parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers"),
    *("stamps", "compression", "redelivered", "fleet_sent_at"),
})  # fmt: skip
