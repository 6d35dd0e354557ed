"""The files that `init` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from celeryfleet.errors import FleetError

#: what each template consists of: (name in this package, name beside fleet.yaml; None: fleet.yaml itself)
_TEMPLATES: dict[str, list[tuple[str, str | None]]] = {
    "demo": [("demo.yaml", None)],
    "priorities": [("priorities.yaml", None)],
    "app": [("app.yaml", None), ("jobs.py.txt", "jobs.py")],
}


def start(template: str, target: Path) -> Iterator[str]:
    """Write a template's files, fleet.yaml as `target`; tell what was done. Raises FleetError as `save` does."""
    for path in save(
        [(target if name is None else target.with_name(name), text(of)) for of, name in _TEMPLATES[template]]
    ):
        yield f"wrote {path}"
    yield "Now: celeryfleet up -d --wait, then celeryfleet status"


def text(name: str, **words: str) -> str:
    """Return the text of a file of this package, with each word in the place of `{its name}`."""
    found = (files(__package__) / name).read_text("utf-8")
    for word, value in words.items():
        found = found.replace(f"{{{word}}}", value)
    return found


def save(wanted: Sequence[tuple[Path, str]], *later: Path) -> list[Path]:
    """Write new files; return them. Raises FleetError, before anything is written, if one or one of `later` exists."""
    for path in [*(path for path, _ in wanted), *later]:
        if path.exists():
            raise FleetError(
                f"{path} exists, and init never overwrites.", hint=f"Choose another folder, or move {path} away."
            )
    for path, content in wanted:
        try:
            path.write_text(content, "utf-8")
        except OSError as error:
            raise FleetError(f"{path} cannot be written: {error.strerror}.") from error
    return [path for path, _ in wanted]
