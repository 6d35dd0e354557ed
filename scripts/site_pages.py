"""A hook of MkDocs: pages from outside docs/, links that lead there, and a navigation that forgets no page."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
#: files of the repository, and the pages that they are
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "benchmarks/CHAOS.md": "chaos.md",
    **{
        str(path.relative_to(ROOT)): f"{path.parent.relative_to(ROOT)}.md"
        for path in sorted((ROOT / "examples").glob("**/README.md"))
    },
}
SOURCES = {page: source for source, page in OUTSIDE.items()}
#: folders that pages link to
FOLDERS = {"docs/decisions": "decisions/index.md", **{str(Path(s).parent): p for s, p in OUTSIDE.items() if "/" in s}}
_LINK = re.compile(r"(!?)\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Add to the navigation what mkdocs.yml does not name: checks, decisions, examples, and pages that are new."""
    named = set(re.findall(r"[\w/.-]+\.md", str(config.nav)))
    new = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    rest = {
        "More": new,
        "Examples": sorted(page for page in SOURCES if page.startswith("examples/")),
        "What check finds": ["checks.md", *sorted(f"checks/{path.name}" for path in (ROOT / "docs/checks").glob("*"))],
        "Decisions": ["decisions/index.md", *_decisions()],
    }
    config.nav = [*config.nav, *({title: pages} for title, pages in rest.items() if pages)]
    return config


def _decisions() -> list[str]:
    return sorted(f"decisions/{path.name}" for path in (ROOT / "docs/decisions").glob("*.md"))


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside docs/, and the list of decisions."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    titles = {name: (ROOT / "docs" / name).read_text("utf-8").partition("\n")[0] for name in _decisions()}
    lines = [f"- [{title.removeprefix('# ')}]({Path(name).name})" for name, title in titles.items()]
    files.append(File.generated(config, "decisions/index.md", content="\n".join(["# Decisions", "", *lines])))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point each link at the page that stands for its file; one to a file that is no page becomes its text."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def linked(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        found = OUTSIDE.get(path) or FOLDERS.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(found) is None:
            return str(text) if (ROOT / path).exists() else match[0]  # what exists nowhere is left for MkDocs to find
        return f"{picture}[{text}]({posixpath.relpath(found, posixpath.dirname(here) or '.')}{anchor or ''})"

    return _LINK.sub(linked, markdown)
