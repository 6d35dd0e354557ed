"""All that `check` can find, by code: the rules, and what is found where fleet.yaml is read."""

from __future__ import annotations

from celeryfleet.lint import app, broker, capacity, content, hosts, own, pools, queues, routes
from celeryfleet.lint.values import Level, Rule

#: whatever else is wrong with a fleet.yaml or an app
INVALID = Rule("CF000", "invalid", "A file or an app that cannot be used as it is", Level.ERROR)
UNUSED_IGNORE = Rule("CF009", "unused-ignore", "A comment that silences nothing", Level.INFO)
REFUSED = Rule("CF046", "broker-refuses", "A broker that does not let the fleet in", Level.ERROR)
CANVAS = Rule("CF072", "canvas-invalid", "A named canvas that cannot be run", Level.ERROR)
#: found where fleet.yaml is read, or by `check` itself
_FOUND_ELSEWHERE = (
    INVALID,
    Rule("CF001", "unknown-queue", "A queue that is not declared", Level.ERROR),
    Rule("CF002", "unknown-setting", "A setting that Celery does not have", Level.ERROR),
    Rule("CF003", "old-setting", "A setting by its old name", Level.ERROR),
    Rule("CF004", "owned-setting", "A setting that fleet.yaml has a key for", Level.ERROR),
    Rule("CF005", "unknown-key", "A key that fleet.yaml does not have", Level.ERROR),
    Rule("CF006", "unknown-exchange", "An exchange that no queue declares", Level.ERROR),
    Rule("CF045", "definition-differs", "A definition that RabbitMQ has otherwise", Level.ERROR),
    REFUSED,
    CANVAS,
    Rule("CF084", "host-unknown-pool", "A host that runs a pool which there is not", Level.ERROR),
    UNUSED_IGNORE,
)
RULES: tuple[Rule, ...] = (
    *queues.RULES,
    *routes.RULES,
    *pools.RULES,
    *capacity.RULES,
    *broker.RULES,
    *app.RULES,
    *own.RULES,
    *content.RULES,
    *hosts.RULES,
)
#: by code, in order
CODES: dict[str, Rule] = {rule.code: rule for rule in sorted((*_FOUND_ELSEWHERE, *RULES), key=lambda rule: rule.code)}


def named(word: str) -> Rule | None:
    """Find a rule by its code or its name, whatever the case."""
    return CODES.get(word.upper()) or next((rule for rule in CODES.values() if rule.name == word.lower()), None)
