"""Manifests of Kubernetes: a Deployment for each pool and the one beat, the settings, and what kustomize reads."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Any

from celeryfleet.export.service import ALIVE_VARIABLE, SETTINGS, SETTINGS_VARIABLE, Deployment, Files, Service
from celeryfleet.export.yamltext import Text, dumped

_FOLDER = "/etc/celeryfleet"
_ALIVE = "/tmp/celeryfleet-alive"
#: letters of a Deployment's name: those of its pods are 17 longer, and their host names, by which nodes are told
#: apart, are cut at 63
_NAME = 46
#: seconds between two probes, and probes until a worker must have started
_PERIOD, _STARTS = 10, 30
#: of a processor, for each process
_MILLIS = 100


def files(fleet: Deployment, folder: str) -> Files:
    """Write the manifests, and a kustomization of them."""
    return Files(texts(fleet), tuple(notes(fleet)))


def texts(fleet: Deployment, **more: str) -> dict[str, str]:
    """Write the files, and `more` of other manifests; what these scale has no replicas of its own."""
    head = f"# The fleet {fleet.fleet}, written by `celeryfleet export`.\n"
    manifests = [part for service in fleet.services for part in _manifests(fleet, service, scaled=bool(more))]
    parts = {"settings.yaml": dumped(_settings(fleet)), "workers.yaml": dumped(*manifests), **more}
    parts["kustomization.yaml"] = dumped(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(parts),
            "images": [{"name": _word(fleet.fleet), "newTag": "latest"}],
        }
    )
    return {name: head + text for name, text in parts.items()}


def notes(fleet: Deployment) -> Iterator[str]:
    """Say what is to be done by hand."""
    image = _word(fleet.fleet)
    yield f"the image {image}:latest must hold the app, Celery and celeryfleet: `images` in kustomization.yaml names it"
    if fleet.references:
        keys = f" It has the keys {', '.join(fleet.required)}" if fleet.required else ""
        yield f"the Secret {secret(fleet)} is for you to make: kubectl create secret generic {secret(fleet)} …{keys}"
    if fleet.env_files:
        yield f"the same Secret is to hold what is in {', '.join(fleet.env_files)}: --from-env-file"
    if any(service.pool is None for service in fleet.services):
        yield "beat forgets in a new pod when it last sent each task: one that runs seldom may run twice or be missed"
    if not all(service.memory for service in fleet.services if service.pool):
        yield "pools without max_memory_per_child have no limit of memory, and those that share a node feel it"


# --- What is written --------------------------------------------------------------------------------------


def _settings(fleet: Deployment) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _settings_name(fleet), "labels": _labels(fleet)},
        "data": {SETTINGS: Text(fleet.settings)},
    }


def _manifests(fleet: Deployment, service: Service, scaled: bool) -> Iterator[dict[str, Any]]:
    labels = {**_labels(fleet), "app.kubernetes.io/component": _component(fleet, service)}
    selector = {key: value for key, value in labels.items() if not key.endswith("managed-by")}
    metadata = {"name": name_of(fleet, service), "labels": labels}
    # What the settings are is said in the pods, so that others make new ones.
    digest = hashlib.sha256(fleet.settings.encode()).hexdigest()[:16]
    template = {
        "metadata": {"labels": labels, "annotations": {"celeryfleet/settings": digest}},
        "spec": _pod(fleet, service),
    }
    own = scaled and service.pool is not None and service.pool.autoscale is not None
    spec = {
        **({} if own else {"replicas": service.replicas}),
        **({} if service.pool else {"strategy": {"type": "Recreate"}}),
        "selector": {"matchLabels": selector},
        "template": template,
    }
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    if service.pool is not None:
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": selector}}
        yield {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget}


def _pod(fleet: Deployment, service: Service) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # So that somebody reaps what loses its parent: the first process is then not the worker.
        "shareProcessNamespace": True,
        "terminationGracePeriodSeconds": math.ceil(service.grace),
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(fleet, service)],
        "volumes": [
            {"name": "settings", "configMap": {"name": _settings_name(fleet)}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(fleet: Deployment, service: Service) -> dict[str, Any]:
    env = {SETTINGS_VARIABLE: f"{_FOLDER}/{SETTINGS}", ALIVE_VARIABLE: _ALIVE, **service.env}
    whole: dict[str, Any] = {
        "name": "worker" if service.pool else "beat",
        "image": _word(fleet.fleet),
        "command": [_plain(word) for word in service.command(service.name, "/tmp/beat-schedule")],
        "env": [
            *({"name": name, "value": _plain(value)} for name, value in env.items()),
            *(_secret(fleet, name) for name in service.references),
        ],
        "envFrom": [{"secretRef": {"name": secret(fleet)}}] if fleet.env_files else [],
        "resources": _resources(service),
        **(_probes(service) if service.pool else {}),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "settings", "mountPath": _FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {key: value for key, value in whole.items() if value}


def _secret(fleet: Deployment, name: str) -> dict[str, Any]:
    """Have a variable come from the Secret; one that has a default may be missing there."""
    reference: dict[str, Any] = {"name": secret(fleet), "key": name}
    if name not in fleet.required:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _resources(service: Service) -> dict[str, Any]:
    memory = {"memory": f"{math.ceil(service.memory / 1024**2)}Mi"} if service.memory else {}
    requests = {"requests": {"cpu": f"{_MILLIS * service.processes}m", **memory}}
    return requests | ({"limits": memory} if memory else {})


def _probes(service: Service) -> dict[str, Any]:
    """Have the kubelet start a worker anew that gives no sign of life, and wait for the first one."""
    probe = {
        "exec": {"command": [_plain(word) for word in service.probe(_ALIVE)]},
        "periodSeconds": _PERIOD,
        "timeoutSeconds": 5,
    }
    return {
        "startupProbe": {**probe, "failureThreshold": _STARTS},
        "livenessProbe": {**probe, "failureThreshold": 2},
    }


# --- Names ------------------------------------------------------------------------------------------------


def name_of(fleet: Deployment, service: Service) -> str:
    """Name a service's Deployment, as nothing else of the fleet is named."""
    return _shortened(f"{_word(fleet.fleet)}-{_component(fleet, service)}")


def secret(fleet: Deployment) -> str:
    """Name the Secret that holds the variables."""
    return _shortened(f"{_word(fleet.fleet)}-secrets")


def _settings_name(fleet: Deployment) -> str:
    return _shortened(f"{_word(fleet.fleet)}-settings")


def _labels(fleet: Deployment) -> dict[str, str]:
    return {"app.kubernetes.io/name": _shortened(_word(fleet.fleet)), "app.kubernetes.io/managed-by": "celeryfleet"}


def _component(fleet: Deployment, service: Service) -> str:
    """Write a pool's name as Kubernetes does; where several look alike there, it has something of its own."""
    word = _word(service.name)
    alike = sum(_word(one.name) == word for one in fleet.services) > 1 and word != service.name
    return _shortened(f"{word}-{_digest(service.name)}" if alike else word)


def _word(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "fleet"


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 7].rstrip('-')}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _plain(text: str) -> str:
    """Write a text in which Kubernetes replaces nothing."""
    return text.replace("$", "$$")
