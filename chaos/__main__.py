"""The command `python -m chaos`: breaks a fleet on each broker, prints what became of its tasks, writes CHAOS.md."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from pathlib import Path

from benchmarks import machine
from chaos import report
from chaos.brokers import BROKERS, MissingError
from chaos.run import Options, Outcome, run
from chaos.schedule import Kind

_CHAOS = Path(machine.__file__).with_name("CHAOS.md")
#: what a run must have on each broker to be written down
_FAULTS, _TASKS = 100, 10_000


def main(words: list[str]) -> int:
    """Run on each broker; return 1 where something was lost, left, stuck or orphaned."""
    options = _options(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = machine.describe(machine.OURS) | {"load before": machine.load()}
    _say(f"seed {options.seed}")
    how = Options(options.seed, options.seconds, options.faults, tuple(options.kind), options.keep)
    outcomes: list[Outcome] = []
    for name in options.broker or BROKERS:
        try:
            outcomes.append(run(name, how, _say))
        except MissingError as error:
            _say(f"{name}: left out: {error}")
    print("\n".join([*report.table(outcomes), "", *report.recoveries(outcomes)]))
    output = options.output or (_CHAOS if _whole(outcomes) else None)
    if output:
        output.write_text(report.markdown(outcomes, facts | {"load after": machine.load()}))
        _say(f"wrote {output}")
    for outcome in outcomes:
        for failure in outcome.failures():
            _say(f"{outcome.broker}: {failure}")
        if outcome.kept:
            _say(f"{outcome.broker}: seed {outcome.seed}; the events, the ledger and the logs are in {outcome.kept}")
    return 1 if not outcomes or any(outcome.failures() for outcome in outcomes) else 0


def _whole(outcomes: list[Outcome]) -> bool:
    return len(outcomes) == len(BROKERS) and all(
        outcome.faults.total() >= _FAULTS and outcome.verdict is not None and outcome.verdict.sent >= _TASKS
        for outcome in outcomes
    )


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults, on each broker; default 60")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="the same gives the same sequence")
    parser.add_argument("--broker", action="append", choices=BROKERS, help="this one alone; may be given again")
    parser.add_argument("--faults", type=int, metavar="N", help="end after so many")
    parser.add_argument("--kind", action="append", type=_kind, metavar="TEXT", help="faults whose name has this text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write here; default: CHAOS.md after a large run")
    parser.add_argument("--keep", action="store_true", help="keep what there is to look at, even if all went well")
    options = parser.parse_args(words)
    options.kind = [kind for kinds in options.kind or () for kind in kinds]
    return options


def _kind(text: str) -> list[Kind]:
    found = [kind for kind in Kind if text.lower() in kind.lower()]
    if not found:
        raise argparse.ArgumentTypeError(f"no fault is called so; there are: {', '.join(Kind)}")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
