"""Manifests for Kubernetes and KEDA: held to the published schemas, to kubectl's kustomize, and to `import k8s`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from celeryfleet.export.formats import Format
from celeryfleet.fleetfile.load import parse
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import convert_all
from tests.machine_services import lacking
from tests.unit.export.fleets import SHOP, planned, written

#: the fields of KEDA 2.20's resource definitions that are written here, where these are closed
KEDA = {
    "ScaledObject": {
        *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod"),
        *("advanced", "triggers"),
    },
    "TriggerAuthentication": {"secretTargetRef"},
}
TRIGGER = {"type", "name", "metadata", "authenticationRef"}
SCALED = SHOP.replace("replicas: 2", "autoscale: {min: 0, max: 8, target_length: 20, cooldown: 2m}")
KINDS = [Format.K8S, Format.KEDA]


def manifests(kind: Format, text: str = SHOP) -> dict[str, dict[str, Any]]:
    """Return what is written, by kind and name."""
    files = written(kind, text).texts
    found = [one for name in files if name != "kustomization.yaml" for one in yaml.safe_load_all(files[name])]
    return {f"{one['kind']} {one['metadata']['name']}": one for one in found}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifests_are_what_the_published_schemas_say(kind: Format) -> None:
    for name, manifest in manifests(kind, SCALED).items():
        if manifest["apiVersion"].startswith("keda.sh/"):
            assert manifest["spec"].keys() <= KEDA[manifest["kind"]]
            for trigger in manifest["spec"].get("triggers", ()):
                assert trigger.keys() <= TRIGGER
                assert all(isinstance(value, str) for value in trigger["metadata"].values())
        else:
            kubernetes_validate.validate(manifest, "1.30", strict=True)
        assert name.split()[1].startswith("shop-")


@pytest.mark.parametrize("kind", KINDS)
def test_kustomize_builds_them_all(kind: Format, tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl") or lacking("needs kubectl")
    for name, text in written(kind, SCALED).texts.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run([kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {f"{one['kind']} {one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout)}
    assert built.keys() == manifests(kind, SCALED).keys()
    assert container(built["Deployment shop-web"])["image"] == "shop:latest"


def test_a_pool_is_a_deployment_that_stops_in_its_time_and_has_its_variables_from_a_secret() -> None:
    found = manifests(Format.K8S)
    assert [name for name in found if name.startswith("Deployment")] == [
        "Deployment shop-web", "Deployment shop-video", "Deployment shop-beat",
    ]  # fmt: skip
    web, beat = found["Deployment shop-web"], found["Deployment shop-beat"]
    assert (web["spec"]["replicas"], web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == (2, 90)
    assert (beat["spec"]["replicas"], beat["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert "PodDisruptionBudget shop-web" in found
    assert "PodDisruptionBudget shop-beat" not in found
    env = {one["name"]: one.get("value", one.get("valueFrom")) for one in container(web)["env"]}
    assert env["COLOR"] == "red $$1 one"
    assert env["PASSWORD"] == {"secretKeyRef": {"name": "shop-secrets", "key": "PASSWORD"}}
    assert "$(PASSWORD)" not in str(container(web)["command"])
    video = container(found["Deployment shop-video"])["resources"]
    assert video == {"requests": {"cpu": "400m", "memory": "2760Mi"}, "limits": {"memory": "2760Mi"}}


def test_names_that_kubernetes_does_not_have_stay_apart_and_leave_room_for_those_of_pods() -> None:
    pools = "\n".join(f"  {name}: {{queues: [default]}}" for name in ("a_b", "a-b", "A_B", "x" * 60))
    text = f"name: Shop.EU\napp: shop\nbroker: redis://r\nqueues: {{default: }}\npools:\n{pools}\n"
    names = [name.split()[1] for name in manifests(Format.K8S, text) if name.startswith("Deployment")]
    assert len(set(names)) == 4
    assert "shop-eu-a-b" in names
    assert max(map(len, names)) <= 46


def test_the_settings_are_in_a_config_map_and_other_ones_make_other_pods() -> None:
    def digest(text: str) -> str:
        pod = manifests(Format.K8S, text)["Deployment shop-video"]["spec"]["template"]
        return str(pod["metadata"]["annotations"]["celeryfleet/settings"])

    settings = manifests(Format.K8S)["ConfigMap shop-settings"]["data"]["celery-settings.json"]
    assert settings == planned(kind=Format.K8S).settings
    assert digest(SHOP) != digest(SHOP.replace("priority: 9", "priority: 8"))


def test_keda_counts_all_lists_of_a_pool_together_and_aims_at_target_length() -> None:
    found = manifests(Format.KEDA, SCALED)
    spec = found["ScaledObject shop-web"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"], spec["cooldownPeriod"]) == (0, 8, 120)
    lists = [trigger["metadata"]["listName"] for trigger in spec["triggers"]]
    assert lists == ["mail", "default", "default\x06\x169"]
    modifiers = spec["advanced"]["scalingModifiers"]
    assert (modifiers["formula"], modifiers["target"]) == ("list0 + list1 + list2", "20")
    assert {trigger["metadata"]["listLength"] for trigger in spec["triggers"]} == {"20"}
    assert {trigger["metadata"]["address"] for trigger in spec["triggers"]} == {"redis:6379"}
    login = found["TriggerAuthentication shop-broker"]["spec"]["secretTargetRef"]
    assert login == [{"parameter": "password", "name": "shop-secrets", "key": "PASSWORD"}]
    assert "replicas" not in found["Deployment shop-web"]["spec"]
    assert "ScaledObject shop-video" not in found


def test_keda_asks_a_rabbitmq_by_its_url_from_the_secret() -> None:
    text = SCALED.replace("redis://:${PASSWORD}@redis:6379/0", "amqp://u:${PASSWORD}@rabbit//")
    found = manifests(Format.KEDA, text)
    data = [trigger["metadata"] for trigger in found["ScaledObject shop-web"]["spec"]["triggers"]]
    assert [one["queueName"] for one in data] == ["mail", "default"]
    assert {one["value"] for one in data} == {"20"}
    login = found["TriggerAuthentication shop-broker"]["spec"]["secretTargetRef"]
    assert login == [{"parameter": "host", "name": "shop-secrets", "key": "CELERY_BROKER_URL"}]
    notes = written(Format.KEDA, text).notes
    assert any("is to have CELERY_BROKER_URL too" in note for note in notes)


def test_import_finds_what_keda_was_told() -> None:
    text = SCALED.replace("beat: true", "").replace("${PASSWORD}", "").replace(":@", "")
    files = {name: body for name, body in written(Format.KEDA, text).texts.items() if name.endswith(".yaml")}
    back = parse(convert_all(files, Ask("k8s", "workers.yaml")).text, "/srv/shop/fleet.yaml", {})
    assert (
        back.pools["web"].autoscale == parse(text, "/srv/shop/fleet.yaml", {"DATABASE_URL": "x"}).pools["web"].autoscale
    )
