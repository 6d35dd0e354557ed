"""The colours of the drawn topology, by light and by dark."""

from __future__ import annotations

from typing import NamedTuple


class _Shade(NamedTuple):
    """A colour where the reader's screen is light, and where it is dark."""

    light: str
    dark: str


_SANS = "-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Noto Sans','DejaVu Sans',sans-serif"
_MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace"

_FILL = {
    ".paper": _Shade("#ffffff", "#0d1117"),
    ".card": _Shade("#f8fafc", "#161b22"),
    ".title,.badge-text": _Shade("#0f172a", "#e6edf3"),
    ".faint": _Shade("#64748b", "#8b949e"),
    ".label": _Shade("#475569", "#a8b3c1"),
    ".badge": _Shade("#ffffff", "#0d1117"),
    ".pill": _Shade("#cffafe", "#0e3a45"),
    ".pill-text": _Shade("#155e75", "#7ee2ec"),
    ".well-text": _Shade("#15803d", "#3fb950"),
    ".late-text": _Shade("#b45309", "#e3a53a"),
    ".bad-text": _Shade("#b91c1c", "#ff7b72"),
    ".source-bar": _Shade("#64748b", "#8b949e"),
    ".exchange-bar": _Shade("#9333ea", "#bc8cff"),
    ".queue-bar": _Shade("#0891b2", "#39c5cf"),
    ".pool-bar": _Shade("#4f46e5", "#7c8cff"),
    ".well-bar": _Shade("#16a34a", "#3fb950"),
    ".late-bar": _Shade("#d97706", "#d29922"),
    ".bad-bar": _Shade("#dc2626", "#f85149"),
    "#arrow path": _Shade("#94a3b8", "#6e7681"),
    "#arrow-late path": _Shade("#d97706", "#d29922"),
    "#arrow-bad path": _Shade("#dc2626", "#f85149"),
}
_STROKE = {
    ".paper": _Shade("#e2e8f0", "#30363d"),
    ".card": _Shade("#cbd5e1", "#30363d"),
    ".late": _Shade("#d97706", "#d29922"),
    ".bad": _Shade("#dc2626", "#f85149"),
    ".line": _Shade("#94a3b8", "#6e7681"),
    ".line-late": _Shade("#d97706", "#d29922"),
    ".line-bad": _Shade("#dc2626", "#f85149"),
    ".badge": _Shade("#94a3b8", "#6e7681"),
    ".label": _Shade("#ffffff", "#0d1117"),
}


def css() -> str:
    """Write the style sheet: plain rules, since not every viewer knows variables."""
    fixed = (
        f"text{{font-family:{_SANS};font-size:11px}}"
        f".mono{{font-family:{_MONO};font-size:12px}}"
        ".name{font-size:13px;font-weight:600}.head{font-size:17px;font-weight:700}.tag{font-size:10px}"
        ".column{font-size:10px;font-weight:600;letter-spacing:1px}"
        ".line,.line-late,.line-bad{fill:none;stroke-width:1.5}.line:hover{stroke-width:3}"
        ".dashed{stroke-dasharray:5 4}.may{stroke-dasharray:2 4}"
        ".label{font-size:10.5px;stroke-width:4;stroke-linejoin:round;paint-order:stroke}"
        ".badge-text,.pill-text{font-size:10px;font-weight:600;text-anchor:middle}.rest{font-style:italic;font-size:12px}.end{text-anchor:end}"
    )
    return f"{fixed}{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}"


def _rules(shade: int) -> str:
    fills = "".join(f"{name}{{fill:{colours[shade]}}}" for name, colours in _FILL.items())
    strokes = "".join(f"{name}{{stroke:{colours[shade]}}}" for name, colours in _STROKE.items())
    return fills + strokes
