"""Kubernetes manifests and systemd units."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from posixpath import normpath

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.model import Fleet
from celeryfleet.importers.document import Ask, Result
from celeryfleet.importers.formats import convert_all
from celeryfleet.importers.found import Fate


def imported(kind: str, files: Mapping[str, str], *names: str, **known: str) -> Result:
    texts = {path: textwrap.dedent(text).lstrip("\n") for path, text in files.items()}
    first = names or tuple(texts)
    ask = Ask(kind, first[0], known=known, read=lambda path: texts.get(normpath(path)))
    return convert_all({name: texts[name] for name in first}, ask)


def fleet(result: Result, **variables: str) -> Fleet:
    return parse(result.text, "/srv/shop/fleet.yaml", variables, opened=lambda name: "")


def said(result: Result, fate: Fate) -> str:
    return "\n".join(map(str, (note for note in result.notes if note.fate is fate)))


# --- Kubernetes -------------------------------------------------------------------------------------------

SHOP = """
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: shop}
    data: {QUEUES: "mail,sms", DJANGO_SETTINGS_MODULE: shop.settings, CELERY_BROKER_URL: redis://redis/0}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: shop-mail}
    spec:
      replicas: 3
      template:
        spec:
          terminationGracePeriodSeconds: 300
          initContainers: [{name: migrate, command: [python, manage.py, migrate]}]
          containers:
            - name: worker
              image: shop
              command: [celery, -A, shop]
              args: [worker, "-Q$(QUEUES)", "-c$(N)", "-n$$(N)@%h"]
              envFrom: [{configMapRef: {name: shop}}, {secretRef: {name: passwords}}]
              env:
                - {name: N, value: "4"}
                - {name: TWICE, value: "$(N)$(N)"}
                - {name: PASSWORD, valueFrom: {secretKeyRef: {name: shop, key: password}}}
    ---
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: shop-video}
    spec:
      template:
        spec:
          containers: [{name: worker, command: [sh, -c], args: ["exec bin/worker.sh $WHAT"], env: [{name: WHAT, value: video}]}]
    ---
    apiVersion: batch/v1
    kind: CronJob
    metadata: {name: nightly}
    ---
    apiVersion: v1
    kind: List
    items:
      - kind: Deployment
        metadata: {name: beat}
        spec: {template: {spec: {containers: [{command: [celery, -A, shop, beat, -S, redbeat.RedBeatScheduler]}]}}}
"""  # noqa: E501
WORKER = "#!/bin/sh\nexec celery -A shop worker -Q $1\n"


def test_deployments_become_pools() -> None:
    result = imported("k8s", {"k8s/shop.yaml": SHOP, "bin/worker.sh": WORKER}, "k8s/shop.yaml")
    found = fleet(result)
    mail, video = found.pools["shop-mail"], found.pools["shop-video"]
    assert (mail.queues, mail.replicas, mail.concurrency) == (("mail", "sms"), 3, 4)
    assert (mail.stop_grace_period, video.queues) == (300.0, ("video",))
    assert (found.django, found.broker.url) == ("shop.settings", "redis://redis/0")
    assert mail.env == {"QUEUES": "mail,sms", "N": "4", "TWICE": "44"}
    assert "\nbeat: {scheduler: redbeat.RedBeatScheduler} " in result.text
    lost = said(result, Fate.LOST)
    assert "k8s/shop.yaml:14 shop-mail: `initContainers`: they are not run before the workers" in lost
    assert "`envFrom` passwords: what it sets is not here, or secret" in lost
    assert "nightly: a CronJob is no worker" in lost
    assert result.pools["shop-mail"] == ("k8s/shop.yaml:18 shop-mail",)


HPA = "kind: HorizontalPodAutoscaler\nmetadata: {name: s}\nspec: {scaleTargetRef: {name: w}, %s}\n"
KEDA = "kind: ScaledObject\nmetadata: {name: s}\nspec: {scaleTargetRef: {name: w}, %s}\n"


@pytest.mark.parametrize(
    ("scaler", "autoscale"),
    [
        (HPA % "minReplicas: 2, maxReplicas: 9", (2, 9, 20)),
        (KEDA % "maxReplicaCount: 9, triggers: [{type: redis, metadata: {listName: a, listLength: '5'}}]", (0, 9, 5)),
        (KEDA % "minReplicaCount: 1, triggers: [{type: cpu}, {type: rabbitmq, metadata: {value: '7'}}]", (1, 100, 7)),
        (KEDA % "minReplicaCount: 1, triggers: [{type: rabbitmq, metadata: {mode: MessageRate}}]", (1, 100, 20)),
    ],
)
def test_a_scaler_becomes_autoscale_also_from_another_file(scaler: str, autoscale: tuple[int, int, int]) -> None:
    worker = """
        kind: Deployment
        metadata: {name: w}
        spec: {template: {spec: {containers: [{command: [celery, -A, shop, worker, -Q, a]}]}}}
    """
    result = imported("k8s", {"w.yaml": worker, "s.yaml": scaler})
    found = fleet(result).pools["w"].autoscale
    assert found is not None
    assert (found.min, found.max, found.target_length) == autoscale
    assert ("but by what waits" in said(result, Fate.CHANGED)) is (autoscale[2] == 20)


def test_whatever_has_pods_is_read() -> None:
    template = "{template: {spec: {containers: [{command: [celery, -A, shop, worker, -Q, a]}]}}}"
    result = imported("k8s", {"w.yaml": f"kind: Rollout\nmetadata: {{name: w}}\nspec: {template}\n"})
    assert list(fleet(result).pools) == ["w"]


def test_a_template_of_a_chart_is_refused_with_what_renders_it() -> None:
    with pytest.raises(FleetError, match="helm template RELEASE CHART"):
        imported("k8s", {"w.yaml": "kind: Deployment\nmetadata:\n  {{- include labels }}\n"})


# --- systemd ----------------------------------------------------------------------------------------------

UNIT = """
    [Unit]
    Description=Celery of the shop, %i

    [Service]
    Type=simple
    User=shop
    Environment="DJANGO_SETTINGS_MODULE=shop.settings" GREETING=hello
    EnvironmentFile=-/etc/shop/worker.env
    ExecStartPre=/srv/shop/migrate
    ExecStart=/srv/shop/venv/bin/celery -A ${CELERY_APP} worker \\
        # a comment among the lines
        -Q %i -n %i@%%h $OPTIONS
    TimeoutStopSec=5min
    MemoryMax=1G
"""


def test_an_instance_of_a_template_becomes_a_pool() -> None:
    files = {
        "w@mail.service": UNIT,
        "w@sms.service": UNIT,
        "/etc/shop/worker.env": "CELERY_APP=shop\nOPTIONS='-c 2 -E'\n",
    }
    result = imported("systemd", files, "w@mail.service", "w@sms.service")
    found = fleet(result)
    assert (found.app, found.django) == ("shop", "shop.settings")
    assert {name: (pool.queues, pool.concurrency, pool.events) for name, pool in found.pools.items()} == {
        "mail": (("mail",), 2, True),
        "sms": (("sms",), 2, True),
    }
    assert found.pools["mail"].stop_grace_period == 300.0
    assert found.pools["mail"].env == {"GREETING": "hello"}
    lost = said(result, Fate.LOST)
    for sentence in (
        "`User=shop`: the fleet runs as",
        "`MemoryMax=1G`",
        "`ExecStartPre=/srv/shop/migrate`: it is not run",
    ):
        assert sentence in lost
    assert 'env_file: ["/etc/shop/worker.env"]' in result.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            UNIT,
            "w@.service:10: the command holds %i, which a template does not tell. Name the target that wants it, or an",
        ),
        ("[Unit]\nDescription=x\n[Service]\nType=oneshot\n", "this is no unit of systemd that starts something."),
        ("[Service]\nExecStart=/srv/celery-worker --all\n", "w@.service:2: w: `/srv/celery-worker …`: the script"),
    ],
)
def test_a_unit_that_does_not_tell_its_workers_is_refused(text: str, message: str) -> None:
    with pytest.raises(FleetError) as caught:
        imported("systemd", {"w@.service": text})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "start",
    [
        "/bin/sh -c '${CELERY_BIN} -A $CELERY_APP multi start $CELERYD_NODES -l ${CELERYD_LOG_LEVEL} $CELERYD_OPTS'",
        "/srv/bin/celery multi start $CELERYD_NODES -A ${CELERY_APP} --loglevel=${CELERYD_LOG_LEVEL} $CELERYD_OPTS",
        '/bin/sh -c "$$CELERY_BIN -A $$CELERY_APP multi start $$CELERYD_NODES -l $$CELERYD_LOG_LEVEL $$CELERYD_OPTS"',
    ],
)
def test_the_unit_of_celery_s_documentation_starts_the_nodes_of_its_environment_file(start: str) -> None:
    files = {
        "celery.service": f"[Service]\nType=forking\nEnvironmentFile=/etc/conf.d/celery\nExecStart={start}\n",
        "/etc/conf.d/celery": 'CELERYD_NODES="a b"\nCELERY_BIN="/srv/bin/celery"\nCELERY_APP="shop"\n'
        'CELERYD_OPTS="-c 2 -Q:a mail -Q:b sms"\nCELERYD_LOG_LEVEL="DEBUG"\n',
    }
    found = fleet(imported("systemd", files, "celery.service")).pools
    assert {name: (pool.queues, pool.concurrency, pool.log_level) for name, pool in found.items()} == {
        "a": (("mail",), 2, "debug"),
        "b": (("sms",), 2, "debug"),
    }


# --- Apps of beats, and of images -------------------------------------------------------------------------


def test_a_beat_of_an_app_of_its_own_keeps_it() -> None:
    """It ran the schedule of the first worker's app, without a word."""
    text = """
        [program:light]
        command=celery -A shop.apps.light worker -Q light
        [program:cron]
        command=celery -A shop.apps.cron beat
    """
    found = fleet(imported("supervisord", {"w.conf": text}))
    assert {name: app.app for name, app in found.apps.items()} == {"light": "shop.apps.light", "cron": "shop.apps.cron"}
    assert found.beat
    assert (found.beat.app, found.pools["light"].app) == ("cron", "light")


def test_a_beat_of_another_app_than_the_chosen_one_is_left_out_and_said() -> None:
    text = "light: celery -A shop.light worker\ncron: celery -A shop.cron beat\n"
    result = convert_all({"Procfile": text}, Ask("procfile", "Procfile", app="shop.light"))
    assert fleet(result).beat is None
    assert "its beat runs another app, shop.cron" in said(result, Fate.LOST)


def test_a_command_of_options_is_celerys_only_if_celery_knows_them() -> None:
    """That of a proxy was said to be of an image whose entrypoint is celery."""
    text = """
        services:
          proxy: {image: traefik, command: ["--entrypoints.web.address=:80", "--log.level=INFO"]}
          worker: {image: shop, command: -A shop worker -Q a}
    """
    result = imported("compose", {"compose.yaml": text})
    assert list(fleet(result).pools) == ["worker"]
    assert [note.who for note in result.notes if "entrypoint of its image" in note.what] == ["worker"]
