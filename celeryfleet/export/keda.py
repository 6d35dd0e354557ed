"""The manifests of Kubernetes, and of KEDA what scales the pools with `autoscale` by what waits in their queues."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from celeryfleet.depths import lists
from celeryfleet.endpoint import Endpoint
from celeryfleet.export import k8s
from celeryfleet.export.service import Deployment, Files, Service
from celeryfleet.export.settings import named
from celeryfleet.export.yamltext import dumped
from celeryfleet.plan.values import AutoscalePolicy

SCALES = True
#: messages for each worker where fleet.yaml names no number
_LENGTH = 20
#: seconds between two looks, and the longest time that an HPA looks back
_LOOK, _LONGEST = 10, 3600
_API = "keda.sh/v1alpha1"


def files(fleet: Deployment, folder: str) -> Files:
    """Write the manifests, and a kustomization of them."""
    scaled = [service for service in fleet.services if service.pool and service.pool.autoscale]
    if not scaled or not _known(fleet):
        texts = k8s.texts(fleet)
    else:
        login = _login(fleet)
        objects = [*([_authentication(fleet, login)] if login else []), *(_scaled(fleet, one) for one in scaled)]
        texts = k8s.texts(fleet, **{"scaling.yaml": dumped(*objects)})
    return Files(texts, (*k8s.notes(fleet), *_notes(fleet, scaled)))


def _notes(fleet: Deployment, scaled: list[Service]) -> Iterator[str]:
    if not scaled:
        yield "no pool has `autoscale`: KEDA has nothing to do"
    elif not _known(fleet):
        yield f"KEDA is not told how to reach {fleet.broker.shown}: no pool is scaled"
    else:
        own = [key for key in _login(fleet).values() if key not in fleet.references]
        if own:
            yield f"for KEDA the Secret {k8s.secret(fleet)} is to have {', '.join(own)} too, as the broker's URL has it"
        if fleet.broker.transport == "redis":
            yield f"KEDA reads the Redis at {_redis(fleet).where}, as it is here: see `address` in scaling.yaml"
            yield "messages that are sent with a priority of their own, not by a route, are not counted by KEDA"
    for service in scaled:
        policy = service.pool and service.pool.autoscale
        if policy and policy.target_age is not None:
            yield f"target_age of {service.name}: KEDA scales by what waits, here {_length(policy)} messages a worker"


def _known(fleet: Deployment) -> bool:
    """Tell whether KEDA can reach the broker: not by a socket, nor by names of sentinels."""
    return fleet.broker.url.startswith(("redis://", "rediss://", "amqp://", "amqps://", "pyamqp://"))


def _redis(fleet: Deployment) -> Endpoint:
    return Endpoint(fleet.broker.url.partition(";")[0], {})


# --- What scales ------------------------------------------------------------------------------------------


def _scaled(fleet: Deployment, service: Service) -> dict[str, Any]:
    assert service.pool is not None
    assert service.pool.autoscale is not None
    name, policy = k8s.name_of(fleet, service), service.pool.autoscale
    triggers = list(_triggers(fleet, service, str(_length(policy))))
    window = min(int(policy.cooldown), _LONGEST)
    advanced: dict[str, Any] = {
        "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": window}}}
    }
    if len(triggers) > 1:  # else the longest of the lists would decide, not all that waits
        triggers = [{**trigger, "name": f"list{number}"} for number, trigger in enumerate(triggers)]
        formula = " + ".join(trigger["name"] for trigger in triggers)
        advanced["scalingModifiers"] = {
            "formula": formula,
            "target": str(_length(policy)),
            "metricType": "AverageValue",
        }
    return {
        "apiVersion": _API,
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": policy.min,
            "maxReplicaCount": policy.max,
            "pollingInterval": _LOOK,
            "cooldownPeriod": int(policy.cooldown),
            "advanced": advanced,
            "triggers": triggers,
        },
    }


def _length(policy: AutoscalePolicy) -> int:
    return policy.target_length or _LENGTH


def _triggers(fleet: Deployment, service: Service, length: str) -> Iterator[dict[str, Any]]:
    """Go through what is to be counted: each queue, on Redis each list that holds its messages."""
    assert service.pool is not None
    reference = {"authenticationRef": {"name": _login_name(fleet)}} if _login(fleet) else {}
    if fleet.broker.transport != "redis":
        for queue in service.pool.queues:
            data = {"protocol": "amqp", "mode": "QueueLength", "queueName": queue, "value": length}
            yield {"type": "rabbitmq", "metadata": data, **reference}
        return
    server = _redis(fleet)
    shared = {"address": server.where, "databaseIndex": str(server.database)}
    shared |= {"enableTLS": "true"} if server.tls is not None else {}
    for name in (name for queue in service.pool.queues for name in _lists(fleet, queue)):
        data = {**shared, "listName": fleet.broker.key_prefix + name, "listLength": length}
        yield {"type": "redis", "metadata": data, **reference}


def _lists(fleet: Deployment, queue: str) -> list[str]:
    """Name the lists of a queue into which tasks go by its own name, or by a route with a priority."""
    routes = [item.get("options", {}) for item in json.loads(fleet.settings)["settings"]["task_routes"]]
    used = {0, *(route["priority"] for route in routes if route.get("queue") == queue and "priority" in route)}
    steps = [step for step in fleet.broker.steps if step in used]
    return lists({"steps": steps, "sep": fleet.broker.sep}, queue)


# --- How the broker is reached ----------------------------------------------------------------------------


def _login(fleet: Deployment) -> dict[str, str]:
    """Return what KEDA is told of the broker that is secret: its parameter → the key of the Secret."""
    written = json.loads(fleet.settings)["settings"]["broker_url"]
    if fleet.broker.transport != "redis":
        whole = [name for name, form in named(written).items() if form == written]
        return {"host": whole[0] if whole else "CELERY_BROKER_URL"}
    parts, server = urlsplit(written), _redis(fleet)
    found = {}
    for parameter, text, value in (
        ("username", parts.username or "", server.user),
        ("password", parts.password or "", server.password),
    ):
        own = [name for name, form in named(text).items() if form == text]
        if value:
            found[parameter] = own[0] if own else f"CELERY_BROKER_{parameter.upper()}"
    return found


def _login_name(fleet: Deployment) -> str:
    return f"{k8s.secret(fleet).removesuffix('-secrets')}-broker"


def _authentication(fleet: Deployment, login: dict[str, str]) -> dict[str, Any]:
    targets = [{"parameter": name, "name": k8s.secret(fleet), "key": key} for name, key in login.items()]
    return {
        "apiVersion": _API,
        "kind": "TriggerAuthentication",
        "metadata": {"name": _login_name(fleet)},
        "spec": {"secretTargetRef": targets},
    }
