"""Units of systemd: a template for each pool, one for beat, and a target that wants them all."""

from __future__ import annotations

from collections.abc import Iterator

from celeryfleet.export.service import SETTINGS, SETTINGS_VARIABLE, Deployment, Files, Service


def files(fleet: Deployment, folder: str) -> Files:
    """Write the units and the settings, which they look for in `folder`."""
    units = {
        f"{fleet.fleet}-{one.name}{'@' * bool(one.pool)}.service": _unit(fleet, one, folder) for one in fleet.services
    }
    wanted = [name for one in fleet.services for name in _instances(fleet, one)]
    target = [
        f"# The fleet {fleet.fleet}, written by `celeryfleet export systemd`.",
        "[Unit]",
        f"Description=Celery workers of the fleet {fleet.fleet}",
        f"Wants={' '.join(wanted)}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return Files({f"{fleet.fleet}.target": "\n".join(target), **units, SETTINGS: fleet.settings}, tuple(_notes(fleet)))


def _instances(fleet: Deployment, service: Service) -> Iterator[str]:
    if service.pool is None:
        yield f"{fleet.fleet}-{service.name}.service"
    for number in range(1, service.replicas + 1) if service.pool else ():
        yield f"{fleet.fleet}-{service.name}@{number}.service"


def _unit(fleet: Deployment, service: Service, folder: str) -> str:
    pool = service.pool
    env = {SETTINGS_VARIABLE: f"{folder}/{SETTINGS}", **service.env}
    command = service.command(f"{service.name}-\0", "\0S/beat-schedule")
    # What is a variable of an env file, too, would have the value of that.
    own = [f"{key}={value}" for key, value in service.env.items() if key in fleet.in_files]
    program, *words = ("/usr/bin/env", *own, fleet.celery, *command[1:]) if own else (fleet.celery, *command[1:])
    line = " ".join([_quoted(program), *(_quoted(word.replace("$", "$$")) for word in words)])
    line = line.replace("\0S", "%S/" + fleet.fleet).replace("\0", "%i")
    lines = [
        f"# The fleet {fleet.fleet}, written by `celeryfleet export systemd`.",
        "[Unit]",
        f"Description=Celery {f'worker {service.name}-%i' if pool else 'beat'} of the fleet {fleet.fleet}",
        f"PartOf={fleet.fleet}.target",
        "Wants=network-online.target",
        "After=network-online.target",
        *(_limits(service)),
        "",
        "[Service]",
        f"Type={'notify' if pool else 'exec'}",
        *(
            [f"WatchdogSec={pool.health.heartbeat_within:g}", "NotifyAccess=main", "TimeoutStartSec=infinity"]
            if pool
            else []
        ),
        *([] if pool else [f"StateDirectory={fleet.fleet}"]),
        "# Without a User= they run as the user whose systemd it is: for the system's, root.",
        "#User=",
        f"WorkingDirectory={_plain(fleet.folder)}",
        *(f"EnvironmentFile={_plain(str(path))}" for path in fleet.env_paths()),
        *([f"EnvironmentFile={_plain(fleet.folder)}/{fleet.fleet}.env"] if fleet.missing else []),
        *(f"Environment={_quoted(f'{key}={value}')}" for key, value in env.items()),
        f"ExecStart={line}",
        "Restart=always",
        f"RestartSec={pool.restart.backoff if pool else 1:g}",
        "KillMode=mixed",
        f"TimeoutStopSec={service.grace:g}",
        *([f"MemoryMax={service.memory}"] if service.memory else []),
        "",
    ]
    return "\n".join(lines)


def _limits(service: Service) -> list[str]:
    restart = service.pool.restart if service.pool else None
    if restart is None:
        return []
    return [f"StartLimitIntervalSec={restart.window:g}", f"StartLimitBurst={restart.max_restarts + 1}"]


def _notes(fleet: Deployment) -> Iterator[str]:
    if fleet.missing:
        yield f"{fleet.folder}/{fleet.fleet}.env must set {', '.join(fleet.missing)}, and be readable by root alone"
    yield f"put the units into /etc/systemd/system, then: systemctl enable --now {fleet.fleet}.target"


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Write a word so that systemd takes it as it is; in a command a `$` is to be doubled besides."""
    escaped = _plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"' if escaped != _plain(text) or any(c.isspace() or c == "'" for c in text) else escaped
