"""The command `python -m benchmarks`: measures in rounds, so that a busy moment harms all alike, prints and writes."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bulk, commands, kills, machine, report, resting, starts, targets, tasks
from benchmarks.broker import server
from benchmarks.running import folder
from benchmarks.samples import Samples

_RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    #: rounds
    repeat: int
    #: pools of the large fleet and of the small one
    large: int
    small: int
    #: seconds of watching idle workers
    window: float
    #: how often each command runs in a round
    commands: int
    #: no-op tasks a peer and round
    tasks: int
    #: tasks sent in bulk
    bulk: int


FULL = Scale(repeat=3, large=targets.LARGE, small=targets.SMALL, window=60.0, commands=10, tasks=8000, bulk=20_000)
QUICK = Scale(repeat=1, large=4, small=2, window=12.0, commands=3, tasks=1000, bulk=10_000)

Round = Callable[[Samples, str], None]


def main(words: list[str]) -> int:
    """Measure what is asked for, print the tables, and write RESULTS.md after a whole run."""
    options = _options(words)
    scale = QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = {name: run for name, run in rounds(scale).items() if name in (options.only or [name])}
    samples, facts = Samples(), machine.describe((*machine.OURS, *machine.PEERS)) | {"load before": machine.load()}
    try:
        with folder() as home, server(home) as url:
            _measure(samples, chosen, url, options.repeat or scale.repeat)
    except KeyboardInterrupt:
        _say("interrupted; everything that was started is stopped")
        return 130
    table = targets.targets(scale.large, scale.small)
    print("\n".join([*report.figures(samples), "", *report.targets(samples, table)]))
    whole = not options.only and not options.quick
    output = options.output or (_RESULTS if whole else None)
    if output:
        reasons = report.written_reasons(_RESULTS.read_text()) if _RESULTS.exists() else {}
        output.write_text(report.markdown(samples, table, facts | {"load after": machine.load()}, reasons))
        _say(f"wrote {output}")
    return 0


def rounds(scale: Scale) -> Mapping[str, Round]:
    """Return what can be measured, by the names that --only takes."""
    return {
        "start-large": lambda samples, url: starts.measure(samples, scale.large, url, _say),
        "start-small": lambda samples, url: starts.measure(samples, scale.small, url, _say),
        "resting": lambda samples, url: resting.measure(samples, scale.large, url, scale.window, _say),
        "commands": lambda samples, url: commands.measure(samples, url, scale.commands, _say),
        "kill": lambda samples, url: kills.measure(samples, url, _say),
        "tasks": lambda samples, url: tasks.measure(samples, url, scale.tasks, _say),
        "bulk": lambda samples, url: bulk.measure(samples, url, scale.bulk, _say),
    }


def _measure(samples: Samples, chosen: Mapping[str, Round], url: str, repeat: int) -> None:
    begun = time.monotonic()
    for number in range(1, repeat + 1):
        for name, run in chosen.items():
            if name == "resting" and number > 1:
                continue  # a minute of watching is an average already, and takes a minute for each peer
            _say(f"[{time.monotonic() - begun:.0f} s] round {number} of {repeat}: {name}")
            run(samples, url)


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = list(rounds(FULL))
    parser.add_argument("--only", action="append", choices=names, help="measure this alone; may be given again")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"rounds; default {FULL.repeat}, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="small fleets, short windows: to see that it works")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write here; default: RESULTS.md after a whole run")
    return parser.parse_args(words)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
