"""Kubernetes manifests, such as `helm template` prints → the programs of their containers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.parser import parse_yaml
from celeryfleet.fleetfile.tree import Node, at, child, entries, items, text
from celeryfleet.importers import wrappers, yamltext
from celeryfleet.importers.found import FOLDER, USER, Fate, Line, Note, Program, Reading
from celeryfleet.importers.repository import Read, Repository

_HINT = "Manifests have a `kind` each. Of a chart: `helm template RELEASE CHART | celeryfleet import k8s -`"
_JOBS = frozenset(("CronJob", "Job"))
_SCALERS = frozenset(("HorizontalPodAutoscaler", "ScaledObject"))
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")
_NAMES = ("metadata", "name")


@dataclass(slots=True)
class _Manifests:
    """All that the files hold, by kind and name."""

    found: dict[str, dict[str, Node]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def add(self, node: Node | None) -> None:
        """Remember a manifest, or those of a list."""
        kind, listed = text(child(node, "kind")) or "", items(child(node, "items"))
        if kind.endswith("List") and listed:
            for item in listed:
                self.add(item)
        elif node is not None:
            self.found.setdefault(kind, {})[text(at(node, _NAMES)) or ""] = node

    def of(self, *kinds: str) -> Iterator[tuple[str, str, Node]]:
        """Go through those of some kinds: kind, name, manifest."""
        for kind in kinds:
            for name, node in self.found.get(kind, {}).items():
                yield kind, name, node


def read(texts: Mapping[str, str], read: Read) -> Reading:
    """Read manifests, those of all files together. Raises FleetError."""
    manifests = _Manifests()
    for file, document in ((file, document) for file, source in texts.items() for document in _documents(source)):
        root, problems = parse_yaml(document, file)
        if problems:
            raise (
                FleetError("this is a template of Helm's.", file, _HINT)
                if "{{" in document
                else FleetError.of(problems)
            )
        manifests.add(root)
    runners = [found for found in manifests.of(*manifests.found) if found[0] not in _JOBS and _pod(found[0], found[2])]
    if not runners and not any(kind in _JOBS for kind in manifests.found):
        raise FleetError("this is no manifest of Kubernetes that runs something.", next(iter(texts)), _HINT)
    programs = [
        program
        for kind, name, node in runners
        for program in _Workload(kind, name, node, manifests, Repository(read)).programs()
    ]
    for kind, name, node in manifests.of(*sorted(_JOBS)):
        what = f"a {kind} is no worker: its command is not looked at"
        manifests.notes.append(Note(Fate.LOST, node.mark.row, what, name))
    return Reading(tuple(programs), tuple(manifests.notes))


def _documents(source: str) -> Iterator[str]:
    """Cut a file into its documents; each begins with as many empty lines as there are lines before it."""
    before = 0
    for document in re.split(r"^---(?=\s|$).*$", source, flags=re.MULTILINE):
        if document.strip():
            yield "\n" * before + document
        before += document.count("\n")


def _pod(kind: str, node: Node) -> Node | None:
    """Return what a Deployment or anything like it says of its pods; None: it runs none."""
    pod = at(node, ("spec",) if kind == "Pod" else ("spec", "template", "spec"))
    return pod if child(pod, "containers") is not None else None


@dataclass(slots=True)
class _Workload:
    """A Deployment, or its like, being read."""

    kind: str
    name: str
    node: Node
    manifests: _Manifests
    repository: Repository

    def programs(self) -> Iterator[Program]:
        """Make a program of each container."""
        pod = _pod(self.kind, self.node)
        containers = items(child(pod, "containers"))
        for item in containers:
            own = text(child(item, "name")) or self.name
            name = self.name if len(containers) == 1 else f"{self.name}-{own}"
            yield self._program(name, item, pod)

    def _program(self, name: str, container: Node, pod: Node | None) -> Program:
        env = dict(self._environment(container))
        keys = dict(entries(container))
        where = (keys.get("command") or keys.get("args") or container).mark.row
        written = [text(item) or "" for key in ("command", "args") for item in items(child(container, key))]
        words = [_expanded(word, env) for word in written]
        if wrappers.bare(tuple(words)):
            what = f"its args start with {words[0]}: the entrypoint of its image is taken to be celery"
            self.manifests.notes.append(Note(Fate.CHANGED, where, what, name))
            words.insert(0, "celery")
        return Program(
            name, where, tuple(words), {key: value for key, value in env.items() if value != f"${{{key}}}"},
            replicas=self._line("replicas", self.node, "spec", "replicas") or Line("replicas", "1"),
            lines=tuple(self._lines(pod)), leftovers=tuple(self._leftovers(name, container, pod)),
            open=self.repository.open,
        )  # fmt: skip

    # --- The environment ----------------------------------------------------------------------------------

    def _environment(self, container: Node) -> Iterator[tuple[str, str]]:
        """Go through the variables; those of a secret, and what is not here, stay `${VAR}`."""
        for source in items(child(container, "envFrom")):
            prefix, shared = text(child(source, "prefix")) or "", text(at(source, ("configMapRef", "name")))
            yield from ((prefix + key, value) for key, value in self._map(shared).items())
        known: dict[str, str] = {}
        for item in items(child(container, "env")):
            name, value = text(child(item, "name")), text(child(item, "value"))
            reference = at(item, ("valueFrom", "configMapKeyRef"))
            if reference is not None:
                value = self._map(text(child(reference, "name"))).get(text(child(reference, "key")) or "", value)
            if name:
                told = value is not None or child(item, "valueFrom") is None
                known[name] = _expanded(value or "", known) if told else f"${{{name}}}"
                yield name, known[name]

    def _map(self, name: str | None) -> dict[str, str]:
        """Return what a ConfigMap of these files holds."""
        node = self.manifests.found.get("ConfigMap", {}).get(name or "")
        return {key: text(entry.node) or "" for key, entry in entries(child(node, "data"))}

    # --- Everything else ----------------------------------------------------------------------------------

    def _line(self, key: str, node: Node | None, *path: str, unit: str = "") -> Line | None:
        found = at(node, path) if node is not None else None
        written = text(found)
        if found is None or not written:
            return None
        return Line(key, yamltext.literal(f"{written}{unit}"), path[-1], found.mark.row)

    def _lines(self, pod: Node | None) -> Iterator[Line]:
        if grace := self._line("stop_grace_period", pod, "terminationGracePeriodSeconds", unit="s"):
            yield grace
        for kind, name, scaler in self.manifests.of(*sorted(_SCALERS)):
            if text(at(scaler, ("spec", "scaleTargetRef", "name"))) == self.name:
                yield from self._autoscale(kind, name, scaler)

    def _autoscale(self, kind: str, name: str, scaler: Node) -> Iterator[Line]:
        keda = kind == "ScaledObject"
        least, most = ("minReplicaCount", "maxReplicaCount") if keda else ("minReplicas", "maxReplicas")
        bounds = {
            "min": text(at(scaler, ("spec", least))) or ("0" if keda else "1"),
            "max": text(at(scaler, ("spec", most))) or ("100" if keda else ""),
        }
        length, others = _target(at(scaler, ("spec", "triggers")) if keda else None)
        if length:
            bounds["target_length"] = length
        else:
            by = others or "processor or memory"
            what = f"{kind} {name}: a fleet does not grow by {by}, but by what waits: here, 20 messages for each worker"
            self.manifests.notes.append(Note(Fate.CHANGED, scaler.mark.row, what, self.name))
            bounds["target_length"] = "20"
        if cooldown := text(at(scaler, ("spec", "cooldownPeriod"))):
            bounds["cooldown"] = f"{cooldown}s"
        value = yamltext.mapping({key: written for key, written in bounds.items() if written})
        yield Line("autoscale", value, f"{kind} {name}", scaler.mark.row)

    def _leftovers(self, name: str, container: Node, pod: Node | None) -> Iterator[Note]:
        """Say what a worker's pod has that a fleet has not."""
        said = {
            "livenessProbe": "a worker that is silent or does not consume is replaced anyway",
            "readinessProbe": "`celeryfleet health` tells whether a fleet is ready",
            "startupProbe": "`celeryfleet up --wait` waits until the workers are ready",
            "resources": "it bounds the container; `max_memory_per_child` bounds a process of a worker",
            "workingDir": FOLDER,
            "lifecycle": "it is not run around the workers: a stop is warm, and cold after `stop_grace_period`",
            "initContainers": "they are not run before the workers",
            "securityContext": USER,
        }
        for key, entry in (*entries(container), *entries(pod)):
            if key in said:
                yield Note(Fate.LOST, entry.mark.row, f"`{key}`: {said[key]}", name)
        for source in items(child(container, "envFrom")):
            for kind in ("secretRef", "configMapRef"):
                one = text(at(source, (kind, "name")))
                if one and not (kind == "configMapRef" and self._map(one)):
                    what = f"`envFrom` {one}: what it sets is not here, or secret"
                    yield Note(Fate.LOST, container.mark.row, f"{what}: set it in the environment or an env_file", name)


def _expanded(value: str, env: Mapping[str, str]) -> str:
    """Replace `$(VAR)`, of which `$$(VAR)` is not one."""

    def one(match: re.Match[str]) -> str:
        return "$" if match[1] is None else env.get(match[1], match[0])

    return _VARIABLE.sub(one, value)


def _target(triggers: Node | None) -> tuple[str, str]:
    """Return the messages that KEDA wants for each worker, and what else it scales by."""
    others: list[str] = []
    for trigger in items(triggers):
        kind, data = text(child(trigger, "type")) or "", child(trigger, "metadata")
        wanted = text(child(data, "listLength")) if kind.startswith("redis") else None
        if kind == "rabbitmq" and (text(child(data, "mode")) or "QueueLength") == "QueueLength":
            wanted = text(child(data, "value")) or text(child(data, "queueLength"))
        if wanted:
            return wanted, ""
        others.append(kind)
    return "", ", ".join(filter(None, others))
