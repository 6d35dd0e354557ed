"""The asyncio shell around the decisions: turns signals, sockets and exits into events, and executes actions."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celeryfleet.errors import Exit, FleetError
from celeryfleet.plan.values import Plan, WorkerSpec
from celeryfleet.supervise import broker, process
from celeryfleet.supervise.actions import (
    Action,
    Cold,
    Fail,
    Finish,
    Forget,
    GiveUpBroker,
    Kill,
    Restore,
    SetPaused,
    Spawn,
    StartBroker,
    StartServer,
    Stop,
    StopBroker,
    StopServer,
)
from celeryfleet.supervise.events import (
    Beaten,
    BrokerExited,
    BrokerUp,
    Did,
    Event,
    Exited,
    Hello,
    Leftover,
    PauseAsked,
    Ready,
    RestartAsked,
    RetryAsked,
    ServerBroken,
    ServerExited,
    ServerReady,
    StopAsked,
)
from celeryfleet.supervise.history import apply
from celeryfleet.supervise.leftovers import Leftovers, Remembered
from celeryfleet.supervise.reconcile import decide, settled
from celeryfleet.supervise.requests import Server
from celeryfleet.supervise.server import ForkServer
from celeryfleet.supervise.state import Beat, FleetState, LastExit
from celeryfleet.supervise.status import describe, fleet_state, notes
from celeryfleet.supervise.tail import last_lines
from celeryfleet.supervise.target import Target
from celeryfleet.wire import Lines, encode

if TYPE_CHECKING:
    from celeryfleet.wire import Message

#: rounds of deciding before something must have gone wrong: actions lead to states, not to each other for ever
_ROUNDS = 1000
#: ids of revoked tasks kept for workers that start later
_REVOKED = 2000
#: seconds that `status` waits for the workers' answer to a poke
_POKE = 0.05


class Line:
    """The socket to one worker's heartbeat."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.lines = Lines()
        self.pid: int | None = None


class Supervisor:
    """One fleet: its state, its processes, and everything that speaks to it."""

    def __init__(self, plan: Plan, server: ForkServer | None, lock: int) -> None:
        self.target = Target.of(plan)
        self.state = FleetState()
        self.home = Path(plan.state_dir)
        self.lock = lock
        self.started = time.monotonic()
        self.tasks: list[str] = []
        #: ids of revoked tasks, which a worker that starts must know, oldest first
        self.revoked: dict[str, None] = {}
        self.lines: dict[str, Line] = {}
        self.server = server
        self.fresh_server = server is not None
        self.broker_pid: int | None = None
        self.keeper_pid: int | None = None
        self.leash = False
        self.leftovers = Leftovers(self.home / "pids.json")
        self.lifeline_read, self.lifeline = os.pipe()
        self._turning = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[tuple[asyncio.Future[bool], Callable[[], bool | None]]] = []
        self._pokes: dict[int, tuple[set[str], asyncio.Event]] = {}
        self._poke = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: list[str] = []
        self._finished = asyncio.Event()
        self._callers = Server(self._handle)

    # --- Running ------------------------------------------------------------------------------------------

    async def run(self, parent: socket.socket) -> None:
        """Supervise until everything is stopped."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGTERM, self._happen, StopAsked())
        loop.add_signal_handler(signal.SIGINT, self._happen, StopAsked())
        loop.add_signal_handler(signal.SIGQUIT, self._happen, StopAsked(cold=True))
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        listener = await self._callers.listen(self.target.plan.control)
        _point(self.target.plan)
        if self.server is not None:
            loop.add_reader(self.server.channel, self._hear_server, self.server)
        parent.sendall(encode({"ok": True}))
        parent.close()
        self._write_settings()
        self._say(f"celeryfleet supervises {self.target.plan.fleet} (pid {os.getpid()})")
        if os.geteuid() == 0:
            self._say("running as root: a task can do anything on this machine")
        self._take_over()
        self._reap()
        self._schedule()
        await self._finished.wait()
        listener.close()
        await self._callers.hang_up()
        Path(self.target.plan.control).unlink(missing_ok=True)
        _unpoint(self.target.plan)

    def _take_over(self) -> None:
        """Meet what an earlier supervisor left: workers that still finish, and its broker."""
        for name, old in self.leftovers.alive():
            self._say(f"{name} (pid {old.pid}) of an earlier supervisor still runs")
            if name == "keeper":
                process.tell(old.pid, signal.SIGKILL)
            elif name == "broker":
                self._adopt_broker(old)
            elif name == "server":
                process.kill_group(old.pid)
            else:
                process.tell(old.pid, signal.SIGTERM)
                self._watch(old.pid, partial(self._worker_gone, name, 0, "it finished without a supervisor"))
                self._happen(Leftover(name, old.pool, old.node, old.pid, old.grace))
        self.state = self.leftovers.bereave(self.state)

    def _adopt_broker(self, old: Remembered) -> None:
        self._happen(Did(StartBroker("it still runs")))
        self.broker_pid = old.pid
        self.keeper_pid = broker.keep(old.pid, self.lifeline_read)
        self._watch(old.pid, lambda: self._broker_gone("it stopped"))
        self._background(self._wait_for_broker(old.pid))

    def _watch(self, pid: int, gone: Callable[[], None]) -> None:
        """Call back when a process that is not our child ends."""
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            loop.call_soon(gone)
            return

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            gone()

        loop.add_reader(pidfd, ended)

    # --- Events in, actions out ---------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        self.state = apply(self.state, event, time.monotonic())
        self._schedule()

    def _schedule(self) -> None:
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        if self._finished.is_set():
            return
        for _ in range(_ROUNDS):
            now = time.monotonic()
            actions, wake_at = decide(self.target, self.state, now)
            if not actions:
                break
            for action in actions:
                self._say(str(action))
                self.state = apply(self.state, Did(action), now)
                self._execute(action)
            if isinstance(actions[-1], Finish):
                self._finished.set()
                return
        else:
            raise AssertionError(f"the decisions never settle: {actions}")
        self._set_timer(wake_at)
        self._say_notes()
        self.leftovers.remember(self.state, self.broker_pid, self.keeper_pid, self.server.pid if self.server else None)
        for waiter, condition in list(self._waiters):
            if not waiter.done() and (verdict := condition()) is not None:
                waiter.set_result(verdict)

    def _set_timer(self, wake_at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if wake_at is None else loop.call_at(wake_at, self._turn)

    def _execute(self, action: Action) -> None:
        match action:
            case Spawn(spec, fork):
                self._spawn(spec, fork)
            case Stop(name):
                self._signal(name, signal.SIGTERM)
            case Cold(name):
                self._signal(name, signal.SIGQUIT)
            case Kill(name):
                self._kill(name)
            case Restore(name, nodes):
                self._tell_worker(name, {"do": "restore", "nodes": list(nodes)})
            case SetPaused(name, pause, resume):
                self._tell_worker(name, {"do": "pause", "queues": list(pause)})
                self._tell_worker(name, {"do": "resume", "queues": list(resume)})
            case StartBroker():
                self._start_broker()
            case StopBroker(kill):
                self._stop_broker(kill)
            case StartServer(generation):
                self._start_server(generation)
            case StopServer():
                self._drop_server()
            case Fail() | Forget() | GiveUpBroker() | Finish():
                pass  # only the state changes

    # --- Workers ------------------------------------------------------------------------------------------

    def _spawn(self, spec: WorkerSpec, fork: bool) -> None:
        ours, theirs = socket.socketpair()
        line = self.lines[spec.name] = Line(ours)
        asyncio.get_running_loop().add_reader(ours, self._hear, spec.name, line)
        start = {
            "spec": {**_plain(spec), "digest": ""},
            "restore": [spec.node] if self.target.plan.broker.kind == "redis" else [],
            "log": self._log(spec.name),
            "log_format": self.target.plan.logs.format,
            "revoked": list(self.revoked),
        }
        try:
            if fork and self.server is not None:
                if not self.server.send(start, [theirs.detach()]):
                    asyncio.get_running_loop().add_writer(self.server.channel, self._flush_server, self.server)
                return
            line.pid = self._spawn_alone(spec, start, theirs)
            self._happen(Hello(spec.name, line.pid))
        except OSError as error:
            self._worker_gone(spec.name, 1, f"it could not be started: {error.strerror}")
        finally:
            theirs.close()

    def _spawn_alone(self, spec: WorkerSpec, start: Message, heartbeat: socket.socket) -> int:
        whole = {**self._app(), **start, "supervisor": os.getpid()}
        source = os.memfd_create("celeryfleet") if hasattr(os, "memfd_create") else _unnamed(self.home)
        with os.fdopen(source, "r+b") as spool:
            spool.write(json.dumps(whole).encode())
            spool.flush()
            spool.seek(0)
            fds = [heartbeat.fileno(), spool.fileno()]
            argv = [*process.PYTHON, "-m", "celeryfleet.worker", "exec", *map(str, fds)]
            return process.spawn(argv, {**os.environ, **spec.env}, [*fds, self.lifeline])

    def _app(self) -> Message:
        plan = self.target.plan
        return {
            "app": plan.app,
            "django": plan.django,
            "folder": str(Path(plan.file).parent),
            "settings": plan.settings,
            "settings_file": str(self.home / "settings.json"),
        }

    def _log(self, name: str) -> Message:
        logs = self.target.plan.logs
        return {"path": str(self.home / "logs" / f"{name}.log"), "max_size": logs.max_size, "max_files": logs.max_files}

    def _hear(self, name: str, line: Line) -> None:
        try:
            data = line.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(line)
            if line.pid is None and self.lines.get(name) is line:
                self._worker_gone(name, 1, "it ended before it had started")
            return
        for message in line.lines.feed(data):
            self._hear_message(name, line, message)

    def _hear_message(self, name: str, line: Line, message: Message) -> None:
        match message["t"]:
            case "hello":
                line.pid = message["pid"]
                self._happen(Hello(name, message["pid"]))
            case "ready":
                self.tasks = message["tasks"]
                self._say(f"{name} is ready")
                self._happen(Ready(name))
            case "revoked":
                self.revoked |= dict.fromkeys(message["ids"])
                for old in list(self.revoked)[:-_REVOKED]:
                    del self.revoked[old]
            case "beat":
                fields = {key: message[key] for key in Beat.__slots__ if key in message}
                self._happen(Beaten(name, Beat(**{**fields, "paused": tuple(message["paused"])})))
                if "poke" in message and message["poke"] in self._pokes:
                    waiting, done = self._pokes[message["poke"]]
                    waiting.discard(name)
                    if not waiting:
                        done.set()

    def _hang_up(self, line: Line) -> None:
        asyncio.get_running_loop().remove_reader(line.socket)
        line.socket.close()

    def _tell_worker(self, name: str, message: Message) -> None:
        line = self.lines.get(name)
        if line is not None and message.get("queues", True):
            with contextlib.suppress(OSError):  # it is about to be gone, and its exit will tell
                line.socket.send(encode(message))

    def _signal(self, name: str, number: signal.Signals) -> None:
        worker = self.state.workers[name]
        if worker.pid is not None:
            process.tell(worker.pid, number)

    def _kill(self, name: str) -> None:
        worker = self.state.workers[name]
        if worker.pid is not None:
            process.kill_group(worker.pid)
        else:  # it never said who it is: without its line it ends by itself
            self._worker_gone(name, 1, "it never started")

    def _worker_gone(self, name: str, code: int, reason: str) -> None:
        line = self.lines.pop(name, None)
        if line is not None and line.socket.fileno() >= 0:
            self._hang_up(line)
        worker = self.state.workers.get(name)
        log: tuple[str, ...] = ()
        if worker is not None and worker.deadline is None:
            log = tuple(last_lines(self.home / "logs" / f"{name}.log", 12))
        self._say(f"{name} has ended: {reason}")
        self._happen(Exited(name, LastExit(code, time.time(), reason, log)))

    # --- The broker ---------------------------------------------------------------------------------------

    def _start_broker(self) -> None:
        plan = self.target.plan.broker
        try:
            self.broker_pid = broker.start(plan, self.home / "logs" / "broker.log")
            self.keeper_pid = broker.keep(self.broker_pid, self.lifeline_read)
        except OSError as error:
            self._happen(BrokerExited(f"{plan.argv[0]} could not be started: {error.strerror}"))
            return
        self._background(self._wait_for_broker(self.broker_pid))

    async def _wait_for_broker(self, pid: int) -> None:
        if await broker.until_it_answers(self.target.plan.broker.socket):
            if self.broker_pid == pid:
                self._say("the broker is ready")
                self._happen(BrokerUp(pid))
        elif self.broker_pid == pid:
            self._say("the broker does not answer; killing it")
            process.kill_group(pid)

    def _stop_broker(self, kill: bool) -> None:
        if self.broker_pid is not None:
            process.tell(self.broker_pid, signal.SIGKILL if kill else signal.SIGTERM)

    def _broker_gone(self, reason: str) -> None:
        self.broker_pid = None
        if self.keeper_pid is not None:
            process.tell(self.keeper_pid, signal.SIGKILL)
            self.keeper_pid = None
        tail = last_lines(self.home / "logs" / "broker.log", 3)
        self._say(f"the broker has ended: {reason}")
        self._happen(BrokerExited("; ".join([reason, *tail])))

    # --- The fork server ----------------------------------------------------------------------------------

    def _start_server(self, generation: int) -> None:
        if not self.fresh_server:
            self._drop_server()
            try:
                self.server = ForkServer.start()
            except OSError as error:
                self._happen(ServerExited(f"it could not be started: {error.strerror}"))
                return
            asyncio.get_running_loop().add_reader(self.server.channel, self._hear_server, self.server)
        assert self.server is not None
        self.fresh_server = False
        plan = self.target.plan
        log = {**self._log("supervisor"), "path": str(self.home / "logs" / "preload.log")}
        message = {**self._app(), "env": plan.env, "log": log, "generation": generation}
        self.server.send(message, [os.dup(self.lifeline)])

    def _hear_server(self, server: ForkServer) -> None:
        try:
            message = server.receive()
        except BlockingIOError:
            return
        if message is None:
            asyncio.get_running_loop().remove_reader(server.channel)
            return  # its exit is seen by _reap
        if server is not self.server:
            return
        if message["t"] == "preloaded":
            self.tasks = message["tasks"]
            self._say(f"the app is imported, in {message['seconds']:.2f} s; {len(self.tasks)} tasks")
            self._happen(ServerReady(self.state.server.generation, message["unsafe"]))
        else:
            self._happen(ServerBroken(message["error"]))

    def _flush_server(self, server: ForkServer) -> None:
        if server.flush():
            asyncio.get_running_loop().remove_writer(server.channel)

    def _drop_server(self) -> None:
        self.fresh_server = False
        if self.server is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.server.channel)
            loop.remove_writer(self.server.channel)
            self.server.close()
            self.server = None

    # --- Exits --------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for pid, code in process.reap():
            self._ended(pid, code)

    def _ended(self, pid: int, code: int) -> None:
        if pid == self.broker_pid:
            self._broker_gone(process.explain(code))
            return
        if self.server is not None and pid == self.server.pid:
            self._drop_server()
            self._happen(ServerExited(process.explain(code)))
            return
        for name, line in list(self.lines.items()):
            if line.pid is None and line.socket.fileno() >= 0:
                self._hear(name, line)  # its hello may still wait to be read
            if line.pid == pid:
                if line.socket.fileno() >= 0:
                    self._hear(name, line)  # and so may its last beat
                self._worker_gone(name, code, process.explain(code))

    # --- Requests -----------------------------------------------------------------------------------------

    async def _handle(self, message: Message) -> Message:
        match message.get("do"):
            case "health":
                return self._health()
            case "status":
                await self._poke_workers()
                return {"status": self._status()}
            case "tasks":
                return {"tasks": self.tasks}
            case "plan":
                return {"plan": self.target.plan.to_json()}
            case "apply":
                return self._adopt(Plan.from_json(message["plan"]), bool(message.get("retry", True)))
            case "scale":
                return self._scale(message["replicas"])
            case "restart":
                pools = frozenset(message["pools"] or self.target.pools)
                self._happen(RestartAsked(pools, bool(message.get("rolling"))))
                return {}
            case "pause":
                self._happen(PauseAsked(frozenset(message["queues"])))
                return {}
            case "stop":
                self._happen(StopAsked(bool(message.get("cold")), message.get("grace")))
                return {}
            case "wait":
                return await self._wait(message)
            case "leash":
                self.leash = True
                return {}
            case "unleash":
                if not self.state.stopping:
                    self._say("the terminal that the fleet belongs to is gone")
                    self._happen(StopAsked())
                return {}
        raise FleetError(f"the supervisor does not know the request {message.get('do')!r}", code=Exit.FAILURE)

    def _adopt(self, plan: Plan, retry: bool) -> Message:
        if self.state.stopping:
            raise FleetError("the fleet is stopping", hint="Try again when it has stopped.", code=Exit.NOT_READY)
        old = self.target.plan
        if plan.state_dir != old.state_dir or (plan.broker != old.broker and (plan.broker.argv or old.broker.argv)):
            raise FleetError(
                "the fleet's name or its embedded broker changed, which a running fleet can't follow",
                hint="Run `celeryfleet down`, then `celeryfleet up`.",
                code=Exit.NOT_READY,
            )
        self.target = Target.of(plan)
        _point(plan)
        self._write_settings()
        if retry:
            self._happen(RetryAsked())
        self._schedule()
        return {}

    def _scale(self, replicas: dict[str, int]) -> Message:
        for name in replicas:
            if name not in self.target.pools:
                raise FleetError(f'there is no pool "{name}".', hint=f"Pools: {', '.join(self.target.pools)}.")
        self.target = Target.of(self.target.plan.scaled(replicas))
        self._schedule()
        return {}

    async def _wait(self, message: Message) -> Message:
        """Answer when the fleet is ready, or can't become so, or the time is over (`done` is null then)."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (waiter, lambda: settled(self.target, self.state))
        self._waiters.append(entry)
        self._schedule()
        try:
            done = await asyncio.wait_for(waiter, message.get("timeout"))
        except TimeoutError:
            done = None
        finally:
            self._waiters.remove(entry)
        return {"done": done, "status": self._status()}

    async def _poke_workers(self) -> None:
        """Have every worker that can answer say how it is now, so that what `status` shows is exact."""
        ready = {name for name, w in self.state.workers.items() if w.status == "ready" and not w.beat.blocks}
        self._poke += 1
        poke, done = self._poke, asyncio.Event()
        self._pokes[poke] = (set(ready), done)
        for name in ready:
            self._tell_worker(name, {"do": "poke", "poke": poke})
        if ready:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), _POKE)
        del self._pokes[poke]

    def _status(self) -> dict[str, Any]:
        pids = [worker.pid for worker in self.state.workers.values() if worker.pid is not None]
        now = time.monotonic()
        status = describe(self.target, self.state, now, process.resident_by_session(pids))
        status["supervisor"] = {"pid": os.getpid(), "uptime_s": round(now - self.started, 1)}
        return status

    def _health(self) -> Message:
        ready = settled(self.target, self.state) is True
        plan = self.target.plan
        state = fleet_state(self.target, self.state)
        return {"fleet": plan.fleet, "state": state, "ready": ready, "pools": self._pools_ready()}

    def _pools_ready(self) -> dict[str, list[int]]:
        counts = {name: [pool.replicas, 0] for name, pool in self.target.pools.items()}
        for name, spec in self.target.specs.items():
            worker = self.state.workers.get(name)
            counts[spec.pool][1] += worker is not None and worker.status == "ready"
        return counts

    # --- Odds and ends ------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """On SIGHUP let a command read fleet.yaml and send the new plan, as anyone could."""
        self._say("SIGHUP: reloading")
        argv = [*process.PYTHON, "-m", "celeryfleet", "--file", self.target.plan.file, "reload"]
        with contextlib.suppress(OSError):
            process.spawn(argv, os.environ)

    def _write_settings(self) -> None:
        """Leave the settings where `celeryfleet.install` finds them in the fleet's own processes."""
        fresh = self.home / "settings.new"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self.target.plan.settings))
        fresh.replace(self.home / "settings.json")

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say_notes(self) -> None:
        found = notes(self.target, self.state, time.monotonic())
        for note in found:
            if note not in self._notes:
                self._say(note)
        self._notes = found

    def _say(self, text: str) -> None:
        stamp = datetime.now().isoformat(" ", "milliseconds")
        print("".join(f"{stamp} {line}\n" for line in text.splitlines()), end="", flush=True)


def boot(parent: socket.socket, server: ForkServer | None) -> None:
    """Receive the plan, take the lock, and supervise; tell the parent what became of it."""
    lines = Lines()
    messages: list[Message] = []
    while not messages:
        data = parent.recv(1 << 16)
        if not data:
            return  # fleet.yaml was wrong, or the parent is gone
        messages = lines.feed(data)
    plan = Plan.from_json(messages[0]["plan"])
    home = Path(plan.state_dir)
    (home / "logs").mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        parent.sendall(encode({"ok": False, "error": "locked"}))
        return
    out = os.open(home / "logs" / "supervisor.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for fd in (1, 2):
        os.dup2(out, fd)
    os.close(out)
    os.chdir(Path(plan.file).parent)
    asyncio.run(_main(plan, server, lock, parent))
    sys.stdout.flush()


async def _main(plan: Plan, server: ForkServer | None, lock: int, parent: socket.socket) -> None:
    await Supervisor(plan, server, lock).run(parent)


def pointer(file: Path) -> Path:
    """Name the link by which the control socket is found from fleet.yaml alone, without reading it."""
    return file.parent / ".celeryfleet" / f"{file.name}.sock"


def _point(plan: Plan) -> None:
    link = pointer(Path(plan.file))
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(plan.control)
    fresh.replace(link)


def _unpoint(plan: Plan) -> None:
    link = pointer(Path(plan.file))
    with contextlib.suppress(OSError):
        if str(link.readlink()) == plan.control:
            link.unlink()


def _plain(spec: WorkerSpec) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(spec)


def _unnamed(folder: Path) -> int:
    """Open a file without a name, for platforms without memfd."""
    import tempfile

    fd, name = tempfile.mkstemp(dir=folder)
    Path(name).unlink()
    return fd
