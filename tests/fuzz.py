"""Gives texts that nobody would write to everything that reads what others write: `make fuzz [SECONDS=30]`.

A reader may refuse a text in its own words. A traceback, more than 10 seconds of work or 100 MB is a failure, and is
shown with its seed and the smallest text that does it. One at a time: python -m tests.fuzz --target words --seed 7
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from celeryfleet.client.bulk.jsonl import Lines as Tasks
from celeryfleet.client.expression import Names
from celeryfleet.client.expression import parse as parse_canvas
from celeryfleet.client.words import prepare
from celeryfleet.errors import FleetError
from celeryfleet.fleetfile import dotenv
from celeryfleet.fleetfile.load import parse as parse_fleet
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import FORMATS, convert
from celeryfleet.lint import lint
from celeryfleet.logs.times import time_of
from celeryfleet.plan import config
from celeryfleet.plan.build import build
from celeryfleet.protocol import Request, Status
from celeryfleet.records import LIMIT, Lines, encode
from celeryfleet.render.graph.drawing import as_text, draw
from celeryfleet.render.graph.survey import survey
from celeryfleet.text import tamed
from celeryfleet.worker_protocol import Beat, Hello, Ready, Said, Told
from tests.unit.importers.test_fuzz import FORMS, OPTIONS, STARTS, VALUES
from tests.unit.plan.fleets import FACTS, fleet_text

#: seconds of processor time, and bytes, that one text may cost
SECONDS, BYTES = 20.0, 100_000_000
#: texts between two looks at the clock
_ROUND = 200
_TEMPLATES = Path(__file__).parent.parent / "celeryfleet" / "cli" / "templates"


class TooMuchError(Exception):
    """A text costs too much."""


@dataclass(frozen=True)
class Target:
    """Something that reads texts."""

    read: Callable[[str], object]
    texts: st.SearchStrategy[str]


# --- Texts ------------------------------------------------------------------------------------------------

#: letters of a great many
_MANY = 200_000
_ODD = ("\x00", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff", "\t", "\r", "é", "図", "😀", "\ud800", "9" * 5000)


@st.composite
def changed(draw: Callable[[st.SearchStrategy[Any]], Any], samples: Sequence[str], words: Sequence[str]) -> str:
    """Take a good text and spoil it in a few places, now and then by a great many of something."""
    text: str = draw(st.sampled_from(samples))
    piece = st.sampled_from([*words, *_ODD]) | st.text(max_size=3)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.integers(0, 12)))
        new = draw(piece | st.just(text[at:upto]))
        times = draw(st.sampled_from([0, 1, 1, 1, 2, 50, _MANY // (len(new) or 1)]))
        text = text[:at] + new * times + text[upto:]
    return text[: 2 * _MANY]


def texts(samples: Sequence[str], words: Sequence[str]) -> st.SearchStrategy[str]:
    """Give good texts that are spoilt, words in any order, and any text at all."""
    jumble = st.lists(st.sampled_from([*words, " ", "\n", "\n  "]), max_size=40).map("".join)
    return changed(samples, words) | jumble | st.text(max_size=60)


_FLEETS = [
    *((_TEMPLATES / f"{name}.yaml").read_text("utf-8") for name in ("app", "demo", "priorities")),
    fleet_text(beat={"schedule": {"a": {"task": "b", "crontab": "0 3 * * *"}}}),
    fleet_text(celery={"task_acks_late": True}, routes=[{"regex": r"a\..+", "queue": "video"}]),
    "a: &a [x, x]\nb: &b [*a, *a]\nqueues: {<<: {a: *b}}\npools: {web: {queues: [a]}}\n",
]
_YAML = r"""queues: pools: routes: regex:_( name: a: -_ {_ } [ ] , :_ &a_ *a <<:_*a !!set_ !x ' " | > --- ... %YAML_1.1
    ?_ # ${A} ${A:- ${ $$ 30s 1GB 1e999 .nan ~ redis://:p@h/0 0x7f 1:30 (a+)+$ env_file:_x -_{task:_'*',_queue:_a}"""
_CANVASES = """add.s(2, 2) | mul.s(8)
    chord(group(add.s(i, i) for i in range(10)), xsum.s())
    chain(add.s('a' * 3).set(queue='low'), mul.s(2)).apply_async(countdown=3)
    group([add.s(1, x=2)] * 3) | add.map([1, 2 ** 8])"""
_CODE = r"""add .s( .si( .set( chord( group( chain( ( ) [ ] { } , _|_ ** * % << == - 9 1e999 'a' f'{i:9}' __class__ .x
    for_i_in_range(9) lambda:_1 not_ _if_ _else_ \N{DASH} 0x b'a' ... := await_"""
_TASKS = """4 4.5 true key=value
    [1, {a: b}]
    -a [4, 4]
    -k {"x": 4}
    {"args": [1], "kwargs": {"x": 2}, "priority": 3}"""
_JSON = r"""[ ] { } " , : NaN -Infinity 1e999 null \ud800 0x &a_ *a !!python/name:os_ = _-a_ _-k_ 2030-01-31 1:30 .inf
    0b1 ' "queue":_3 "eta":_"x" "task":_"add\""""
_MESSAGES = [
    *(encode(message).decode() for message in (Hello(1), Beat(2, queues=("a",)), Ready(("add",)))),
    *('{"t":"scale","replicas":{"web":3}}\n', '{"t":"wait","timeout":3}\n', '{"t":"apply","plan":{}}\n'),
]
_PARTS = """{ } [ ] "t": "hello" "pid": 1 -1 1e400 NaN null true , "plan": "x" "replicas": 99999999999999999999"""
_FILES = [form.format(start, "-Q a,b -c 3", "2") for form in FORMS.values() for start in STARTS]
_SYNTAX = r"""services: x-a:_&a <<:_*a [program: %(here)s = export_ $( ` <<EOF if_x;_then fi ' & | ; ${ } ${A:?}
    extends:_{file:_x} command:_[ celery_multi [include] files_=_*"""


def _words(text: str) -> list[str]:
    """Split words, in which an underscore stands for a space, but in `__class__`."""
    return [word.replace("_", " ") if "__" not in word else word for word in text.split()]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


# --- Readers ----------------------------------------------------------------------------------------------


def _read_fleet(text: str) -> None:
    """Go from a fleet.yaml to all that is made of it without a machine."""
    with contextlib.suppress(FleetError):
        dotenv.parse(text, ".env")
        fleet = parse_fleet(text, "/srv/shop/fleet.yaml", {"A": "a"}, opened=lambda name: text)
        plan = build(fleet, FACTS)
        lint(fleet, plan)
        config.as_python(plan)
        as_text(draw(survey(fleet, plan), 80))


def _read_canvas(text: str) -> None:
    with contextlib.suppress(FleetError):
        parse_canvas(text, Names(["tasks.add", "tasks.mul", "tasks.xsum"], {"plus": "tasks.add"}, ("default", "low")))


def _read_words(text: str) -> None:
    """Read words as `send` does, and lines as `send --from` does; what is taken must be JSON for everyone."""
    from kombu.utils.json import dumps

    words = text.split(" ")
    for option in ("-a", "-k"):
        value = next((after for word, after in pairwise(words) if word == option), "")
        with contextlib.suppress(FleetError):
            args, kwargs = prepare(words, *((value, "") if option == "-a" else ("", value)))
            json.loads(dumps([args, kwargs]), parse_constant=_no_json)
    lines = Tasks("f", "add", lambda name: name, lambda *_: None, lambda queue: None)
    lines.checked(text.encode("utf-8", "surrogatepass").splitlines(keepends=True))


def _no_json(name: str) -> float:
    raise AssertionError(f"{name} is sent as JSON")


def _read_file(text: str) -> None:
    """Import a text as each format; what comes of it is a fleet.yaml, if anything does."""
    for kind in FORMATS:
        with contextlib.suppress(FleetError):
            convert(text, Ask(kind, "FILE", "shop"))


def _read_messages(text: str) -> None:
    for kind in (Request, Status, Said, Told):
        for limit in (LIMIT, 1000):
            with contextlib.suppress(ValueError):
                list(Lines(kind, limit).feed(text.encode("utf-8", "surrogatepass")))
    time_of(text.encode("utf-8", "surrogatepass"))
    shown = tamed(text)
    assert "\x1b" not in shown
    assert tamed(shown) == shown


TARGETS = {
    "fleet.yaml": Target(_read_fleet, texts(_FLEETS, _words(_YAML))),
    "canvas": Target(_read_canvas, texts(_lines(_CANVASES), _words(_CODE))),
    "words": Target(_read_words, texts(_lines(_TASKS), _words(_JSON))),
    "import": Target(_read_file, texts(_FILES, [*OPTIONS, *VALUES, *_words(_SYNTAX)])),
    "protocol": Target(_read_messages, texts(_MESSAGES, _words(_PARTS))),
}


# --- Running ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Raise TooMuchError where the body takes more than it may."""

    def stop(number: int, frame: object) -> None:
        raise TooMuchError(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten; elsewhere than on Linux it stays
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    if grown > BYTES:
        raise TooMuchError(f"{grown // 1_000_000} MB")


class _TimeOverError(BaseException):
    """Ends the search for a smaller text; Hypothesis would go on for minutes."""


def fuzz(name: str, seed: int | None, examples: int, until: float = math.inf) -> None:
    """Read so many texts; None: the same ones each time. Raises what a reader should not, with a small text.

    When the clock (monotonic) shows `until`, no smaller text is looked for.
    """
    target = TARGETS[name]
    failed: list[tuple[str, Exception]] = []

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(target.texts)
    def case(text: str) -> None:
        if failed and time.monotonic() > until:
            raise _TimeOverError
        try:
            with bounded():
                target.read(text)
        except Exception as error:
            if not failed:
                print(f"{name}, seed {seed}: {error!r:.200}; looking for the smallest text", file=sys.stderr)
            failed.append((text, error))
            raise

    try:
        (case if seed is None else hypothesis.seed(seed)(case))()
    except (Exception, _TimeOverError):
        if not failed:
            raise
        text, error = min(failed, key=lambda failure: len(failure[0]))
        error.add_note(f"target {name}, seed {seed}, smallest text: {text!r}")
        raise error from None


def main() -> int:
    """Go round the targets until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    names = asked.target or list(TARGETS)
    deadline, counts, failed = time.monotonic() + asked.seconds, dict.fromkeys(names, 0), 0
    while names and (not sum(counts.values()) or time.monotonic() < deadline):
        for name in tuple(names):
            seed = random.randrange(2**32) if asked.seed is None else asked.seed
            try:
                fuzz(name, seed, _ROUND, deadline)
            except Exception as error:
                failed += 1
                names.remove(name)  # it would go on to fail
                print("".join(traceback.format_exception(error)), file=sys.stderr)
                print(f"again: python -m tests.fuzz --target {name} --seed {seed}\n", file=sys.stderr)
            counts[name] += _ROUND
        if asked.seed is not None:
            break
    print(", ".join(f"{name}: {count:,} texts" for name, count in counts.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
