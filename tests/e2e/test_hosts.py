"""One fleet on two hosts: folders and names of their own, one broker; and hosts that are network namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from celeryfleet.cli import failed
from celeryfleet.cli.hosts import ask, claim, do, seen
from celeryfleet.cli.session import Session
from celeryfleet.errors import FleetError
from celeryfleet.hosts.messages import EVERY, KEPT, SILENT, HostStatus, state_of
from celeryfleet.ledger.entry import Entry
from celeryfleet.protocol import GetStatus, Restart, Scale, Status
from celeryfleet.redis_client import connect
from tests.e2e.conftest import Home, eventually_none
from tests.fakes import eventually, forget_pools
from tests.machine_services import lacking, rabbit
from tests.servers import redis_server

APP = """
import os, pathlib, time
from celery import Celery

app = Celery("shop")
shared = pathlib.Path(os.environ["SHARED"])


@app.task
def note(word, seconds=0.0):
    time.sleep(seconds)
    with (shared / "notes").open("a") as notes:
        notes.write(f"{word} {os.environ['CELERYFLEET_HOST']}\\n")


@app.task
def encode(word):
    (shared / f"{word}.begun").touch()
    while not (shared / word).exists():
        time.sleep(0.01)
    note(word)
"""
FLEET = """
name: NAME
app: shop
broker: BROKER
results: none
queues: {PREFIXdefault: , PREFIXvideo: }
routes: [{task: shop.encode, queue: PREFIXvideo}]
celery: {task_acks_late: true, task_reject_on_worker_lost: true}
hosts:
  a: [web]
  b: {pools: [video], replicas: {video: 2}}
pools:
  web: {queues: [PREFIXdefault]}
  video: {queues: [PREFIXvideo], prefetch_multiplier: 1}
"""


class Host(Home):
    """A folder that is a host."""

    def __init__(self, path: Path, name: str, shared: Path) -> None:
        super().__init__(path)
        self.name = name
        self.env |= {"CELERYFLEET_HOST": name, "SHARED": str(shared)}

    @property
    def session(self) -> Session:
        """Look at the fleet from here, as commands do."""
        return Session(self.path / "fleet.yaml")

    def seen(self, host: str) -> HostStatus:
        """Say how another host is, seen from here."""
        return next(one for one in seen(self.session)[0] if one.name == host)

    def here(self) -> Status:
        """Return what the supervisor says."""
        with self.session.connect() as client:
            return client.ask(GetStatus(exact=False), Status)

    def kill(self) -> None:
        """Kill the supervisor and all that it runs, as when the machine goes."""
        pids = json.loads(next((self.path / ".celeryfleet").glob("*/pids.json")).read_text())["processes"]
        for pid in (self.here().supervisor.pid, *(one["pid"] for one in pids.values())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid or 0, signal.SIGKILL)
        for pid, command in self.processes().items():
            if "host_link" not in command:  # it ends when it misses its supervisor
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def two_hosts(name: str, broker: str, prefix: str = "") -> Iterator[tuple[Host, Host, Path]]:
    shared = Path(tempfile.mkdtemp(prefix="cf-", dir="/tmp")).resolve()
    hosts = []
    try:
        for host in "ab":
            (shared / host).mkdir()
            hosts.append(Host(shared / host, host, shared))
            text = FLEET.replace("NAME", name).replace("BROKER", broker).replace("PREFIX", prefix)
            hosts[-1].write(text, APP)
        yield hosts[0], hosts[1], shared
        for one in hosts:
            one.run("down", "--cold", check=False)
        assert not eventually_none(Home(shared))
    finally:
        for pid in Home(shared).processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(shared, ignore_errors=True)


def notes(shared: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted((shared / "notes").read_text().split("\n")[:-1])
    return []


@pytest.fixture(params=["redis", "rabbit"])
def hosts(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Host, Path]]:
    with contextlib.ExitStack() as stack:
        if request.param == "redis":
            path = stack.enter_context(redis_server())
            yield stack.enter_context(two_hosts("shop", f"redis+socket://{path}"))
            return
        found = stack.enter_context(rabbit())
        for name in ("default", "video"):
            found.name(name)
        yield stack.enter_context(two_hosts(found.fleet, found.url, found.prefix))


def post(a: Host, task: str, queue: str, *args: Any) -> str:
    """Send a task as a producer would that knows no fleet; return its id."""
    found = a.session.plan
    app = Celery("producer", broker=found.broker.url, set_as_current=False)
    name = next(one.name for one in found.queues if one.name.endswith(queue))
    try:
        return str(app.send_task(f"shop.{task}", args, queue=name).id)
    finally:
        forget_pools(app)


def test_hosts_share_the_work_and_know_of_each_other(hosts: tuple[Host, Host, Path]) -> None:
    a, b, shared = hosts
    a.up()
    assert a.seen("b").state == "missing"
    b.up()
    eventually(lambda: state_of(a.seen("b")) == "ready")
    found = json.loads(a.run("status", "--all", "--json").stdout)
    assert [(host["name"], host["state"], host["here"]) for host in found["hosts"]] == [
        ("a", "ready", True),
        ("b", "ready", False),
    ]
    assert (found["state"], [pool["name"] for pool in found["pools"]]) == ("ready", ["web@a", "video@b"])
    assert [one["node"].rpartition(".")[2] for one in found["pools"][1]["workers"]] == ["b", "b"]

    _refused(a, b)

    ids = [post(a, "encode", "video", word) for word in ("one", "two", "three")]
    post(a, "note", "default", "four")
    eventually(lambda: (shared / "one.begun").exists() and (shared / "two.begun").exists())
    why = json.loads(a.run("why", ids[0], "--json").stdout)
    assert (why["state"], why["worker"].partition("@")[2]) == ("running", "b")
    b.kill()
    aged = a.seen("b").age_s or 0.0
    eventually(lambda: (a.seen("b").age_s or 0.0) > aged + 0.2)
    _silence(a)
    for word in ("one", "two", "three"):
        (shared / word).touch()
    b.up()
    eventually(lambda: sorted(set(notes(shared))) == ["four a", "one b", "three b", "two b"])
    assert a.seen("b").state == "reporting"
    b.run("down")
    assert eventually(lambda: a.seen("b").state == "missing")


def test_what_is_said_on_one_host_is_done_on_another() -> None:
    """`revoke` and `retry` knew nothing of other hosts: they said `revoked`, and the task ran."""
    with redis_server() as path, two_hosts("shop", f"redis+socket://{path}") as (a, b, shared):
        assert a.run("status", "--all").stdout.startswith("HOST  STATE    HEARD")
        assert json.loads(a.run("status", "--all", "--json").stdout)["state"] == "down"
        a.up()
        b.up()
        running = post(a, "encode", "video", "running")
        eventually(lambda: (shared / "running.begun").exists())
        failed.revoked(a.session, [running[:8]], True)
        assert became(a, running, "revoked").worker.endswith("@b")

        wrong = post(a, "note", "video")
        became(a, wrong, "failed")
        assert "is sent again by host b" in a.run("retry", wrong[:8]).stderr
        eventually(lambda: became(a, wrong, "failed").retried_as)
        became(a, str(became(a, wrong, "failed").retried_as), "failed")
        assert [why.startswith("it was sent again as") for _, why in failed.retried(a.session, [wrong], 0.0, "*")[1]]

        before = {worker.pid for worker in b.here().pools[0].workers}
        do(a.session, Restart(("video@b",)))
        eventually(lambda: not before & {worker.pid for worker in b.here().pools[0].workers})
        do(a.session, Scale({"video": 1}), "b")
        eventually(lambda: b.here().pools[0].want == 1)
        # What came to b, and its worker, are a part of the plan: it was that of one host.
        lines = a.run("plan", "--rate", "default=3/s", "--runtime", "default=1ms").stdout.splitlines()
        assert {line.split()[0]: line[-5:] for line in lines[1:3]} == {"default": "1 × 1", "video": "1 × 1"}
        with pytest.raises(FleetError, match='host b: there is no pool "vidoe"'):
            do(a.session, Scale({"vidoe": 1}), "b")
        for words, there in (
            ("restart video", "Have it done there, with --host."),
            ("reload video", "Run `reload` there."),
            ("down video", "Run `down` there."),
            ("logs video-2@b", "Its logs are there: `celeryfleet logs` shows those of a host."),
        ):  # some of them knew no such pool, or said that nothing matches
            misplaced = a.run(*words.split(), check=False)
            told = f"video does not run on host a: fleet.yaml gives it to b.\n  {there}"
            assert (misplaced.returncode, told in misplaced.stderr) == (2, True), misplaced.stderr
        assert "shop is stopped on host a." in a.run("down").stderr


def became(a: Host, task_id: str, state: str) -> Entry:
    """Wait until the ledger of some host says so."""
    eventually(lambda: (found := a.session.entry(task_id)) and found.state == state)
    found = a.session.entry(task_id)
    assert found is not None
    return found


def _refused(a: Host, b: Host) -> None:
    """Look who may not start: a host of a name that is taken, and a pool that is another host's."""
    with pytest.raises(FleetError, match=r'a host named "a" runs .* on this broker already'):
        claim(replace(b.session.plan, host="a"))
    claim(a.session.startable)  # its own report, as after its supervisor was killed
    refused = b.run("up", "-d", "web", check=False)
    assert (refused.returncode, "web does not run on host b: fleet.yaml gives it to a." in refused.stderr) == (2, True)


def _silence(a: Host) -> None:
    """Have the report of b be old, where the broker lets us, and look what is said of it."""
    url = a.session.plan.broker.url
    if not url.startswith("redis"):
        return
    with connect(url) as redis:
        redis.call("EXPIRE", "celeryfleet:shop:report:b", KEPT - SILENT - 50)
    said = a.run("status", "--all").stdout
    assert "Host b is silent: its latest report is 1m" in said
    assert "○ video-1@b" in said
    with pytest.raises(FleetError, match="host b is silent"):
        ask(a.session, "b", Scale({"video": 2}))


# --- Namespaces -------------------------------------------------------------------------------------------


@pytest.fixture
def cut_off() -> Iterator[tuple[str, str, str]]:
    """Give a network namespace, the end of its wire on this side, and this side's address."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        lacking("needs root and `ip` for a network namespace")
    word = uuid.uuid4().hex[:6]
    name, ours, theirs, net = f"cf-{word}", f"cfo{word}", f"cft{word}", f"10.{int(word[:2], 16)}.{int(word[2:4], 16)}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
        if made.returncode:
            lacking(f"needs network namespaces: {made.stderr.strip()}")
        for command in (
            f"ip link add {ours} type veth peer name {theirs} netns {name}",
            f"ip addr add {net}.1/30 dev {ours}",
            f"ip link set {ours} up",
            f"ip -n {name} addr add {net}.2/30 dev {theirs}",
            f"ip -n {name} link set {theirs} up",
            f"ip -n {name} link set lo up",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)
        yield name, ours, f"{net}.1"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class Far(Host):
    """A host that is a network namespace."""

    def __init__(self, path: Path, name: str, shared: Path, namespace: str) -> None:
        super().__init__(path, name, shared)
        self.namespace = namespace

    def run(self, *words: str, check: bool = True, timeout: float = 60, env: Any = None) -> Any:
        """Run a command there."""
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "celeryfleet", *words]
        there = {**self.env, **(env or {})}
        done = subprocess.run(
            command, cwd=self.path, env=there, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0 or not check, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def test_a_host_whose_network_was_cut_goes_on_where_it_was(cut_off: tuple[str, str, str]) -> None:
    namespace, wire, address = cut_off
    with redis_server() as path:
        with connect(f"redis+socket://{path}") as redis:
            for name, value in (("protected-mode", "no"), ("bind", address), ("port", "6379")):
                redis.call("CONFIG", "SET", name, value)
        with two_hosts("shop", f"redis://{address}:6379/0") as (a, near, shared):
            b = Far(near.path, "b", shared, namespace)
            a.up()
            b.up()
            for n in range(3):
                post(a, "note", "video", f"w{n}", 0.3)
            post(a, "encode", "video", "last")
            eventually(lambda: (shared / "last.begun").exists() or notes(shared))
            subprocess.run(["ip", "link", "set", wire, "down"], check=True)
            eventually(lambda: (a.seen("b").age_s or 0.0) > EVERY + 0.5)
            with pytest.raises(FleetError, match="host b does not answer within 1 s"):
                ask(a.session, "b", Scale({"video": 1}), 1.0)
            (shared / "last").touch()
            subprocess.run(["ip", "link", "set", wire, "up"], check=True)
            wanted = ["last b", "w0 b", "w1 b", "w2 b"]
            eventually(lambda: sorted(set(notes(shared))) == wanted)
            eventually(lambda: (a.seen("b").age_s or 99.0) < EVERY)
            assert b.here().pools[0].want == 2  # what was asked for meanwhile, was taken back
            b.run("down")
