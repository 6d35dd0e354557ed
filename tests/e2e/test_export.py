"""`celeryfleet export`: the engines themselves, or what their owners check with, take what it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes import eventually
from tests.machine_services import lacking
from tests.servers import redis_server

BIN = Path(sys.executable).parent

APP = """
import os, pathlib, time
from celery import Celery

app = Celery("shop")


@app.task(bind=True)
def where(self):
    return self.request.hostname.partition("@")[0], self.request.delivery_info["routing_key"], os.environ["COLOR"]


@app.task
def until(name):
    pathlib.Path("started").touch()
    while not pathlib.Path(name).exists():
        time.sleep(0.01)
    return name
"""

FLEET = """
name: shop
app: shop
broker: {url: "${SHOP_BROKER:-embedded}", visibility_timeout: 2s}
celery:
  task_acks_late: true
  broker_transport_options: {unacked_restore_interval: 1, unacked_restore_throttle: 1}
queues: {mail: , low: , video: }
default_queue: low
routes: [{task: shop.w*, queue: video, priority: 5}]
pools:
  web: {queues: [mail, low], replicas: 2, env: {COLOR: "r'e$$d 100%", TOKEN: hush}, restart: {max_restarts: 3}}
  video: {queues: [video], pool: solo, env: {COLOR: blue}, max_memory_per_child: 300MB}
beat: {schedule: {often: {task: shop.where, every: 1h}}}
logs: {format: json}
"""

#: sends a task to each queue as any producer would, by the loader alone
SEND = """
import json, shop
queues = ("mail", "low", "video")
sent = [shop.where.apply_async(queue=queue) for queue in queues]
print(json.dumps([one.get(timeout=50) for one in sent]))
"""
DONE = [["web", "mail", "r'e$d 100%"], ["web", "low", "r'e$d 100%"], ["video", "video", "blue"]]


class Shop:
    """A project, and a broker for it."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.env = {**os.environ, "SHOP_BROKER": broker, "TOKEN": "hush", "PATH": f"{BIN}:{os.environ['PATH']}"}
        (folder / "shop.py").write_text(APP)
        (folder / "fleet.yaml").write_text(FLEET)

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "celeryfleet", *words]
        return subprocess.run(argv, cwd=self.folder, env=env or self.env, capture_output=True, text=True, timeout=60)

    def export(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        done = self.run("export", *words, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def done_by(self, settings: str) -> list[list[str]]:
        """Have a task through every queue; return who did it, where from and with which colour."""
        env = {"CELERY_LOADER": "celeryfleet.worker.loader:Loader", "CELERYFLEET_SETTINGS": settings}
        argv = [sys.executable, "-c", SEND]
        done = subprocess.run(
            argv, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True, timeout=80
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [[node.rstrip("-012"), queue, color] for node, queue, color in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with redis_server() as path:
        yield Shop(tmp_path_factory.mktemp("project"), f"redis+socket://{path}?virtual_host=0")


@contextmanager
def started(argv: list[str], shop: Shop, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run an engine, and end it as its user would."""
    with (shop.folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=shop.folder, env=env or shop.env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 128 + signal.SIGTERM), (shop.folder / "engine.log").read_text()[-3000:]


def test_honcho_runs_it_and_import_gives_it_back(shop: Shop) -> None:
    shop.export("procfile", "-o", ".")
    with started([f"{BIN}/honcho", "start"], shop):
        assert shop.done_by("celery-settings.json") == DONE
    assert '"worker": "web"' in (shop.folder / "engine.log").read_text()
    again = shop.run("export", "procfile", "-o", ".")
    assert (again.returncode, "Procfile and celery-settings.json in . would be overwritten." in again.stderr) == (
        2,
        True,
    )
    shop.export("procfile", "-o", ".", "--force")
    for kind, file, text in (("procfile", "Procfile", ""), ("compose", "compose.yaml", shop.export("compose"))):
        if text:
            (shop.folder / file).write_text(text)
        back = shop.run("import", kind, file, "--with-app")
        assert back.returncode == 0, back.stderr
        assert '- {task: "shop.w*", queue: video, priority: 5}' in back.stdout


def test_supervisord_runs_it(shop: Shop) -> None:
    folder = shop.folder / "supervisor"
    shop.export("supervisord", "-o", str(folder))
    logs = f"stdout_logfile={folder}/%(program_name)s.log"
    text = (folder / "shop.conf").read_text().replace("redirect_stderr=true", f"redirect_stderr=true\n{logs}")
    (folder / "shop.conf").write_text(text)
    main = f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\n[include]\nfiles=shop.conf\n"
    (folder / "supervisord.conf").write_text(main)
    with started([f"{BIN}/supervisord", "-c", str(folder / "supervisord.conf")], shop):
        assert shop.done_by(str(folder / "celery-settings.json")) == DONE


def test_the_commands_of_a_compose_file_run_and_their_probes_pass(shop: Shop, tmp_path: Path) -> None:
    embedded = {key: value for key, value in shop.env.items() if key != "SHOP_BROKER"}
    whole: dict[str, Any] = yaml.safe_load(shop.export("compose", env=embedded))
    assert list(whole["services"]) == ["celery-broker", "web", "video", "beat"]
    assert "hush" not in json.dumps(whole)
    settings = tmp_path / "celery-settings.json"
    text = whole["configs"]["celery-settings"]["content"].replace("$$", "$")
    assert '"broker_url": "redis://celery-broker:6379/0"' in text
    settings.write_text(text.replace("redis://celery-broker:6379/0", shop.env["SHOP_BROKER"]))
    service, alive = whole["services"]["video"], tmp_path / "alive"
    env = {key: value.replace("$$", "$") for key, value in service["environment"].items() if value is not None}
    env |= {"CELERYFLEET_SETTINGS": str(settings), "CELERYFLEET_ALIVE": str(alive)}
    probe = [word.replace("/tmp/celeryfleet-alive", str(alive)) for word in service["healthcheck"]["test"][1:]]
    assert subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 1
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(60)
    env |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with notified, started(service["command"], shop, {**shop.env, **env}):
        said: list[str] = []
        while "READY=1" not in said or said.count("WATCHDOG=1") < 3:
            said += notified.recv(999).decode().split()
        assert subprocess.run(probe, check=False).returncode == 0
        assert alive.stat().st_mtime <= time.time()
    os.utime(alive, (1, 1))
    assert subprocess.run(probe, check=False).returncode == 1, "a file that is old"


def test_what_a_killed_worker_held_comes_back_after_the_visibility_timeout(shop: Shop, tmp_path: Path) -> None:
    shop.export("procfile", "-o", str(tmp_path))
    given = {
        "CELERY_LOADER": "celeryfleet.worker.loader:Loader",
        "CELERYFLEET_SETTINGS": f"{tmp_path}/celery-settings.json",
    }
    env = {**shop.env, **given}
    worker = [f"{BIN}/celery", "-A", "shop", "worker", "-Q", "video", "-n", "video@shop.%h", "-l", "INFO"]
    send = "import shop, sys; sent = [shop.until.apply_async(('go',), queue='video') for _ in range(3)]\n"
    wait = "print([one.get(timeout=50) for one in sent])"
    with subprocess.Popen(
        [sys.executable, "-c", send + wait], cwd=shop.folder, env=env, stdout=subprocess.PIPE
    ) as sender:
        pool = {**env, "CELERYFLEET_POOL": "video", "COLOR": ""}
        first = subprocess.Popen(worker, cwd=shop.folder, env=pool, stderr=subprocess.DEVNULL, start_new_session=True)
        eventually((shop.folder / "started").exists, 60)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        (shop.folder / "go").touch()
        with started(worker, shop, pool):
            done, _ = sender.communicate(timeout=60)
    assert done.decode().strip() == "['go', 'go', 'go']"


def test_composes_own_reader_takes_it(shop: Shop) -> None:
    compose = shutil.which("docker-compose")
    if compose is None:
        lacking("needs docker-compose, of version 2")
    text = shop.export("compose")
    argv = [compose, "-f", "-", "config", "--format", "json"]
    done = subprocess.run(argv, input=text, cwd=shop.folder, env=shop.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    web = json.loads(done.stdout)["services"]["web"]
    assert (web["environment"]["COLOR"], web["environment"]["TOKEN"]) == ("r'e$$d 100%", "hush")
    assert (web["deploy"]["replicas"], web["restart"], web["stop_grace_period"]) == (2, "on-failure:3", "1m0s")


#: in namespaces of its own, where nothing else is and all of which ends with it
MANAGER = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/user && chmod 700 /run/user
export XDG_RUNTIME_DIR=/run/user XDG_STATE_HOME=/run/user SYSTEMD_UNIT_PATH="$UNITS:"
/lib/systemd/systemd --user --unit=shop.target --log-target=null --show-status=0 &
for i in $(seq 600); do systemctl --user -q is-active shop.target 2>/dev/null && break; sleep 0.1; done
say() { systemctl --user show "shop-$1" --property=ActiveState,Type,NRestarts,MainPID | sort | tr '\\n' ' '; echo; }
say web@2; say beat
"$PYTHON" -c "$SEND"
kill -STOP "$(systemctl --user show shop-video@1 --property=MainPID --value)"
for i in $(seq 600); do say video@1 | grep -q NRestarts=1 && break; sleep 0.1; done
say video@1
systemctl --user stop shop.target
"""


def test_systemd_runs_the_units_and_replaces_a_worker_that_hangs(shop: Shop) -> None:
    if shutil.which("systemd-analyze") is None or shutil.which("unshare") is None:
        lacking("needs systemd and unshare")
    folder = shop.folder / "units"
    shop.export("systemd", "-o", str(folder))
    units = sorted(str(path) for path in folder.iterdir() if path.suffix in (".service", ".target"))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    if os.geteuid() != 0:
        pytest.skip("namespaces want root")
    (shop.folder / "shop.env").write_text(f"TOKEN=hush\nSHOP_BROKER={shop.env['SHOP_BROKER']}\n")
    video = folder / "shop-video@.service"
    video.write_text(video.read_text().replace("WatchdogSec=30", "WatchdogSec=2"))
    loader = {
        "CELERY_LOADER": "celeryfleet.worker.loader:Loader",
        "CELERYFLEET_SETTINGS": str(folder / "celery-settings.json"),
    }
    env = {**shop.env, **loader, "UNITS": str(folder), "PYTHON": sys.executable, "SEND": SEND, "HOME": str(shop.folder)}
    argv = ["unshare", "-pfm", "--mount-proc", "--kill-child", "bash", "-c", MANAGER]
    done = subprocess.run(argv, cwd=shop.folder, env=env, capture_output=True, text=True, timeout=85)
    web, beat, results, video_, *_ = [*done.stdout.splitlines(), *[done.stderr] * 4]
    states = [re.sub("MainPID=[0-9]+ ", "", line).strip() for line in (web, beat)]
    assert states == [f"ActiveState=active NRestarts=0 Type={kind}" for kind in ("notify", "exec")], done
    assert [[node.partition("-")[0], *more] for node, *more in json.loads(results)] == DONE
    assert "NRestarts=1" in video_


def test_import_gives_a_fleet_of_several_apps_back_from_its_own_folder(tmp_path: Path) -> None:
    """Routes and broker were lost: several apps were not asked, nor one beside the folder that it was written to."""
    text = (
        "{name: shop, apps: {shop: shop, ml: ml}, broker: 'redis://here/0', queues: {mail: , low: {max_length: 9}}, "
        "default_queue: low, routes: [{task: ml.*, queue: mail}], "
        "pools: {web: {app: shop, queues: [low], replicas: 2}, ml: {app: ml, queues: [mail]}}}"
    )
    (tmp_path / "fleet.yaml").write_text(text)
    for app in ("shop", "ml"):
        (tmp_path / f"{app}.py").write_text(f"from celery import Celery\n\napp = Celery('{app}')\n")
    argv, given = [sys.executable, "-m", "celeryfleet"], yaml.safe_load(text)
    for kind, files in {
        "compose": ["out/compose.yaml"],
        "systemd": ["out/shop.target"],
    }.items():
        folder, back = str(Path(files[0]).parent), f"{kind}.yaml"
        for words in (["export", kind, "-o", folder, "--force"], ["import", kind, *files, "-o", back]):
            done = subprocess.run(
                [*argv, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
        found = yaml.safe_load((tmp_path / back).read_text())
        keys = ("apps", "broker", "queues", "default_queue", "routes")
        assert {key: found.get(key) for key in keys} == {key: given[key] for key in keys}, kind
        pools = {name: (pool["app"], pool.get("replicas", 1)) for name, pool in found["pools"].items()}
        assert pools == {"web": ("shop", 2), "ml": ("ml", 1)}, kind
