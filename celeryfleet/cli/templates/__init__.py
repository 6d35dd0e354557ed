"""The files that `init` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from celeryfleet.errors import FleetError

#: what each template consists of: (name in this package, name beside fleet.yaml; None: fleet.yaml itself)
_TEMPLATES: dict[str, list[tuple[str, str | None]]] = {
    "demo": [("demo.yaml", None)],
    "priorities": [("priorities.yaml", None)],
    "app": [("app.yaml", None), ("jobs.py.txt", "jobs.py")],
}


def write(template: str, target: Path) -> list[Path]:
    """Write a template's files; return them. Raises FleetError, before anything is written, if one exists."""
    found = [(source, target if name is None else target.with_name(name)) for source, name in _TEMPLATES[template]]
    for _, path in found:
        if path.exists():
            raise FleetError(
                f"{path} exists, and init never overwrites.", hint=f"Choose another folder, or move {path} away."
            )
    for source, path in found:
        try:
            path.write_text((files(__package__) / source).read_text("utf-8"), "utf-8")
        except OSError as error:
            raise FleetError(f"{path} cannot be written: {error.strerror}.") from error
    return [path for _, path in found]
