"""Fleets for the tests of `export`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from celeryfleet.export.formats import Format, engine
from celeryfleet.export.service import Deployment, Files, deployment
from celeryfleet.fleetfile.load import parse
from celeryfleet.plan.facts import Facts

FACTS = Facts(host="here", cpus=4, folder="/srv/shop")

SHOP = """
name: shop
app: shop.celery:app
django: shop.settings
broker: redis://:${PASSWORD}@redis:6379/0
results: redis://:hush@redis:6379/1
queues: {default: , mail: , video: }
routes: [{task: shop.mail.*, queue: mail, priority: 9}]
pools:
  web:
    queues: [mail, default]
    replicas: 2
    env: {COLOR: "red $1 one", API_TOKEN: hush, HOME_URL: "http://${HOST:-here}/", DATABASE: "${DATABASE_URL}"}
    stop_grace_period: 90s
  video: {queues: [video], concurrency: 4, max_memory_per_child: 512MiB}
beat: true
"""
GIVEN = {"PASSWORD": "hush1", "HOST": "", "DATABASE_URL": "postgres://u:hush2@db"}


def planned(
    text: str = SHOP, kind: Format = Format.PROCFILE, given: Mapping[str, str] = GIVEN, in_files: Collection[str] = ()
) -> Deployment:
    fleet = parse(text, "/srv/shop/fleet.yaml", given, opened=lambda name: "")
    return deployment(fleet, FACTS, (), engine(kind), in_files=in_files)


def written(kind: Format, text: str = SHOP, folder: str = "/srv/shop", in_files: Collection[str] = ()) -> Files:
    return engine(kind).files(planned(text, kind, in_files=in_files), folder)
