"""Figures and targets → the text of RESULTS.md; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.method import METHOD
from benchmarks.samples import Key, Samples
from benchmarks.targets import Target

REASONS = "## Reasons"
_NO_REASON = "(not written yet)"
_ANSWERS = {True: "yes", False: "**no**", None: "-"}


def markdown(
    samples: Samples,
    table: Sequence[Target],
    facts: Mapping[str, str],
    reasons: Mapping[str, str],
) -> str:
    """Write the whole file; `reasons`, by the target's name, are what somebody wrote into the last one."""
    blocks = [
        "# Benchmark results",
        "Written by `python -m benchmarks`. Only the reasons at the end are written by hand; the next run keeps them.",
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
        "\n".join(targets(samples, table)),
        "## All figures",
        "\n".join(figures(samples)),
        "## How it is measured",
        METHOD,
        REASONS,
        "\n".join(_reasons(samples, table, reasons)) or "Every target that was measured is reached.",
    ]
    return "\n\n".join(blocks) + "\n"


def targets(samples: Samples, table: Sequence[Target]) -> Iterator[str]:
    """Write the targets as a table, medians and what they come to."""
    yield "| what | celeryfleet | peer | ratio | target | reached |"
    yield "|---|--:|--:|--:|--:|---|"
    for target in table:
        value = target.value(samples)
        if value is None:
            continue
        ours, ratio = _number(samples.median(target.ours)), "" if target.peer is None else f"{value:.3f}"
        peer = "" if target.peer is None else _number(samples.median(target.peer))
        limit = "" if target.limit is None else f"{'≥' if target.at_least else '≤'} {target.limit:.2f}"
        cells = (target.what, ours, peer, ratio, limit, _ANSWERS[target.reached(samples)])
        yield f"| {' | '.join(cells)} |"


def figures(samples: Samples) -> Iterator[str]:
    """Write every figure: its median, the least and the greatest, and how many there are."""
    yield "| measured | of | median | least | greatest | runs |"
    yield "|---|---|--:|--:|--:|--:|"
    for key, values in samples.values.items():
        numbers = (_number(samples.median(key)), _number(min(values)), _number(max(values)), str(len(values)))
        yield f"| {' | '.join((*_named(key), *numbers))} |"


def written_reasons(text: str) -> dict[str, str]:
    """Find the reasons in a RESULTS.md, by the target's name."""
    _, _, end = text.partition(f"{REASONS}\n")
    found = re.findall(r"^- (.+?): (.+?)(?=\n- |\n#|\Z)", end, re.MULTILINE | re.DOTALL)
    return {what: " ".join(why.split()) for what, why in found if why.strip() != _NO_REASON}


def _reasons(samples: Samples, table: Sequence[Target], reasons: Mapping[str, str]) -> Iterator[str]:
    """List what was missed, and whatever else somebody has written something to."""
    for target in table:
        if target.what in reasons or target.reached(samples) is False:
            yield f"- {target.what}: {reasons.get(target.what, _NO_REASON)}"


def _named(key: Key) -> tuple[str, str]:
    return key.measure, key.subject


def _number(value: float | None) -> str:
    """Write a figure with three digits that count, and no more than three places."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
