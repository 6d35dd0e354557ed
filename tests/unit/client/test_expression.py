from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time

import pytest
from celery import chain, chord, group, signature, xmap, xstarmap
from hypothesis import given
from hypothesis import strategies as st

from celeryfleet.client.expression import Launched, Names, parse
from celeryfleet.client.signatures import Step, leaves, members, sequence, task_of
from celeryfleet.errors import Exit, FleetError

NAMES = Names(
    ["tasks.math.add", "tasks.math.mul", "tasks.math.xsum", "tasks.math.sub", "stock.sub"],
    {"plus": "tasks.math.add"},
    ("default", "low"),
)


def add(*args: object, **kwargs: object) -> Step:
    return signature("tasks.math.add", args, kwargs)


def mul(*args: object) -> Step:
    return signature("tasks.math.mul", args)


XSUM = signature("tasks.math.xsum")
TEN = group(add(i, i) for i in range(10))


def read(text: str) -> Step:
    return parse(text, NAMES).step


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("add.s(2, 2)", add(2, 2)),
        ("tasks.math.add.s(2, 2)", add(2, 2)),
        ("math.add.s(2, 2)", add(2, 2)),
        ("plus.s(2, y=2)", add(2, y=2)),
        ("add.si(2, 2)", add(2, 2).set(immutable=True)),
        ("add.signature((2, 2), countdown=10)", add(2, 2).set(countdown=10)),
        (
            "signature('tasks.math.add', args=(2, 2), countdown=10)",
            add(2, 2).set(countdown=10),
        ),
        ("add.signature((2,), {'y': 2})", add(2, y=2)),
        ("add.s(2)(8)", add(8, 2)),
        ("add.s(2).delay(8).get()", add(8, 2)),
        ("add.delay(2, 2)", add(2, 2)),
        ("add.apply_async((2, 2), queue='low')", add(2, 2).set(queue="low")),
        ("add.s(2, 2).apply_async(countdown=1)", add(2, 2).set(countdown=1)),
        ("add.s(4).clone(args=(2,))", add(2, 4)),
        ("add.s(4, 4) | mul.s(8)", add(4, 4) | mul(8)),
        ("chain(add.s(4, 4) | mul.s(8))().get()", add(4, 4) | mul(8)),
        ("chain(add.s(4, 4), mul.s(8), mul.s(10))", chain(add(4, 4), mul(8), mul(10), app=None)),
        ("chain([add.s(4, 4), mul.s(8)])", add(4, 4) | mul(8)),
        ("chain(add.s(4) | mul.s(8))(4)", add(4, 4) | mul(8)),
        ("(add.s(4, 4) | mul.s(8))().get()", add(4, 4) | mul(8)),
        ("group(add.s(i, i) for i in range(10))().get()", TEN),
        ("group([add.s(i, i) for i in range(10)])", TEN),
        ("group(add.s(i, i) for i in [0, 1] if i > 0)", group([add(1, 1)])),
        ("group(add.s(i, j) for i in range(2) for j in (5, 6))", group([add(0, 5), add(0, 6), add(1, 5), add(1, 6)])),
        ("group(add.s(i, j) for i, j in zip(range(2), [7, 8]))", group([add(0, 7), add(1, 8)])),
        ("group(add.s(i) for i in range(2))(10)", group([add(10, 0), add(10, 1)])),
        ("group(group(add.s(1)), add.s(2))", group([add(1), add(2)])),
        ("chord((add.s(i, i) for i in range(10)), xsum.s()).delay().get(timeout=1)", chord(TEN, XSUM)),
        ("chord([add.s(i, i) for i in range(10)])(xsum.s())", chord(TEN, XSUM)),
        ("chord(header=[add.s(1, 1)], body=xsum.s())", chord([add(1, 1)], XSUM)),
        ("group(add.s(1, 1), add.s(2, 2)) | xsum.s()", chord([add(1, 1), add(2, 2)], XSUM)),
        ("~xsum.map([list(range(3)), (5, 6)])", xmap(XSUM, [[0, 1, 2], [5, 6]], route_name="tasks.math.xsum")),
        ("add.starmap(zip(range(2), range(2)))", xstarmap(add(), [[0, 0], [1, 1]], route_name="tasks.math.add")),
        ("add.s(-1, 2 * 3 + 4 % 3)", add(-1, 7)),
        ("add.s('a' + \"b\", True, None, 1.5)", add("ab", True, None, 1.5)),
        ("add.s([1, (2, 3)], {'a': [1]})", add([1, [2, 3]], {"a": [1]})),
        ("group(add.s(f'photo-{i}.jpg') for i in range(2))", group([add("photo-0.jpg"), add("photo-1.jpg")])),
        ("add.s(*range(2), **{'z': 3})", add(0, 1, z=3)),
        ("add.s(1).on_error(xsum.s())", add(1).on_error(XSUM)),
        ("add.s(1).set(link=xsum.s())", add(1).set(link=[XSUM])),
        ("\n  add.s(4, 4)\n  | mul.s(8)  # eight times\n", add(4, 4) | mul(8)),
    ],
)
def test_an_expression_means_what_it_means_in_the_documentation(text: str, step: Step) -> None:
    assert read(text) == step


def test_chunks_cut_a_list_into_starmaps() -> None:
    step = read("add.chunks(zip(range(100), range(100)), 30)")
    assert [len(part.kwargs["it"]) for part in members(step)] == [30, 30, 30, 10]
    assert read("add.chunks(zip(range(100), range(100)), 30).group()") == step


def test_chunks_larger_than_the_list_are_one() -> None:
    assert len(members(read("add.chunks([(1, 2), (3, 4)], 10 ** 30)"))) == 1


def test_the_timeout_of_a_closing_get_is_kept() -> None:
    assert parse("add.s(1, 1).delay().get(timeout=1)", NAMES) == Launched(add(1, 1), 1)


def test_options_of_a_chain_reach_every_step_but_a_countdown_only_the_first() -> None:
    first, second = leaves(read("chain(add.s(1), mul.s(2)).set(queue='low', countdown=5)"))
    assert first.options == {"queue": "low", "countdown": 5}
    assert second.options == {"queue": "low"}


def test_skew_spreads_a_group_over_time() -> None:
    step = read("group(add.s(i, i) for i in range(5)).skew(start=1, stop=3)")
    assert [leaf.options["countdown"] for leaf in leaves(step)] == [1, 2, 3, 3, 3]


UNKNOWN = """\
canvas:1:15: No task is called "mull". Did you mean "mul"? `celeryfleet tasks` lists the registered ones.
    add.s(2, 2) | mull.s(8)
                  ^"""
AMBIGUOUS = """\
canvas:1:1: "sub" is the end of 2 tasks. Say which: stock.sub, tasks.math.sub.
    sub.s(2, 2)
    ^"""
QUEUE = """\
canvas:1:17: the queue "loww" is unknown. Did you mean "low"?
    add.s(1, 1).set(queue='loww')
                    ^"""
SECOND_LINE = """\
canvas:2:2: No task is called "nix". `celeryfleet tasks` lists the registered ones.
     nix.s())
     ^"""
OPEN_END = """\
canvas:1:14: This is no expression: invalid syntax. Write one such as add.s(2, 2) | mul.s(8).
    add.s(1, 1) |
                 ^"""
EMPTY = "canvas: This canvas is empty. Write one such as add.s(2, 2) | mul.s(8)."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("add.s(2, 2) | mull.s(8)", UNKNOWN),
        ("sub.s(2, 2)", AMBIGUOUS),
        ("add.s(1, 1).set(queue='loww')", QUEUE),
        ('add.s("é",\n\tnix.s())', SECOND_LINE),
        ("add.s(1, 1) |", OPEN_END),
        ("  ", EMPTY),
    ],
)
def test_an_error_points_at_the_place(text: str, message: str) -> None:
    with pytest.raises(FleetError) as caught:
        read(text)
    assert str(caught.value) == message
    assert caught.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("add(2, 2)", "Write add.s(…)."),
        ("tasks.math.add(2, 2)", "Write tasks.math.add.s(…)."),
        ("add", "Write add.s(…)."),
        ("group", "Call it: group(…)."),
        ("group(add, mul)", "Write add.s(…)."),
        ("group()", "This group is empty"),
        ("group(add.s(i) for i in range(0))", "This group is empty"),
        ("chord([], xsum.s())", "This group is empty"),
        ("chain()", "This chain is empty"),
        ("chord([add.s(1, 1)])", "chord(header, body)"),
        ("chord([add.s(1, 1)], xsum.s())(xsum.s())", "has a body already"),
        ("group(add.delay(1, 1))", "to the very end"),
        ("[add.s(1, 1)] | xsum.s()", "group([…])"),
        ("add.s(add.s(1, 1))", "cannot be an argument"),
        ("add.s(1, 1).set(prioritty=3)", 'Did you mean "priority"?'),
        ("add.s(1, 1).set(priority=10)", "from 0 to 9"),
        ("add.s(1, 1).set(countdown='soon')", "number of seconds"),
        ("add.s(1, 1).set(eta='soon')", "2030-01-31T12:00:00"),
        ("add.s(1, 1).sett(queue='low')", 'Did you mean "set"?'),
        ("add.s(1) + add.s(2)", "only numbers can"),
        ("add.s({1: 2})", "as in JSON"),
        ("add.s(1e999)", "too large"),
        pytest.param(f"add.s({'9' * 5000})", "too large, or none", id="5,000 digits"),
        ("add.s(1 / 0)", "division by zero"),
        ("add.starmap([1, 2])", "argument lists"),
        ("add.chunks([(1, 2)], 0)", "size of a chunk"),
        ("add.s(...)", "cannot be part of a canvas"),
        ("add.s(b'x')", "cannot be part of a canvas"),
        ("add.s(1j)", "cannot be part of a canvas"),
        ("add.s([1][0])", "cannot be part of a canvas"),
        ("add.s(lambda: 1)", "cannot be part of a canvas"),
        ("add.s(x := 1)", "cannot be part of a canvas"),
        ("add.s(f'{1!r:>99999999}')", "plain texts and numbers"),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(text: str, part: str) -> None:
    with pytest.raises(FleetError) as caught:
        read(text)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0].__subclasses__()",
        "add.s.__globals__",
        "add.s(1).__class__()",
        "add.__init__(1)",
        "group.__call__(add.s(1))",
        "open('/etc/passwd')",
        "eval('1')",
        "getattr(add, 's')(1)",
        "[x.__class__() for x in [1]]",
        "add.s(1).step()",
        "'{0.__class__}'.format(1)",
        "add.s('%s' % 1)",
    ],
)
def test_what_is_not_on_the_whitelist_is_never_run(text: str) -> None:
    with pytest.raises(FleetError):
        read(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "add.s(9**9**9)",
        "add.s(" + "9**" * 50 + "9)",
        "add.s('a' * 10**9)",
        "add.s([0] * 10**9)",
        "group(add.s(i) for i in range(10**12))",
        "group(add.s(i) for i in range(-10**30, 10**30))",
        "group(add.s(range(1000)) for i in range(1000))",
        "add.s([[y, y] for y in [[x, x] for x in [list(range(50000))]]])",
        "group(add.s(i, j) for i in range(1000) for j in range(1000))",
        "group(add.s('" + "a" * 15000 + "') for i in range(5000))",
        "add.s(" + "+".join(["'" + "a" * 300 + "'"] * 50) + ")",
        "xsum.map(range(10**9))",
        "-" * 5000 + "1",
        "(" * 300 + "1" + ")" * 300,
        "[" * 150 + "]" * 150,
        "add.s(1)" + ".set()" * 200,
        "add.s(" * 60 + ")" * 60,
        "9" * 10_000,
        "add.s(1) |" * 5000,
        "\0",
        "add.s('\ud800')",
    ],
)
def test_a_bomb_is_refused_at_once(text: str) -> None:
    began = time.process_time()
    with pytest.raises(FleetError):
        read(text)
    assert time.process_time() - began < 2


GROWING = [
    "[99998 in range(99999) for i in range(9999)]",
    "[[g(1) for j in range(9000)] for g in [group(add.s(i) for i in range(9000))]]",
    "[[g.set(countdown=j) for j in range(9000)] for g in [group(add.s(i) for i in range(900))]]",
    "group(x for i in range(9000) for x in [add.s(list(range(9000)))])",
    "[add.s(*x) for x in [list(range(9000))] for i in range(9000)]",
    "[[x, x] for x in [[y, y] for y in [[z, z] for z in range(9000)]] for i in range(9000)]",
    "[f'" + "{x}" * 4000 + "' for x in ['" + "a" * 2000 + "']]",
    "[x + x for x in ['" + "a" * 5000 + "'] for i in range(90000)]",
    " | ".join(["group(add.s(1), add.s(2))", "xsum.s()"] * 300),
]
#: reads expressions in little memory and processor time, and prints what became of each
IN_BOUNDS = """
import json, resource, sys
from pathlib import Path
from celeryfleet.client.expression import Names, parse
from celeryfleet.errors import FleetError

texts = json.load(sys.stdin)
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (100 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for text in texts:
    try:
        parse(text, Names(["t.add", "t.xsum", "t.mul"]))
        print("read")
    except FleetError:
        print("refused")
"""


@pytest.mark.slow
def test_what_would_grow_too_large_is_refused_before_it_is_built() -> None:
    command = [sys.executable, "-c", IN_BOUNDS]
    done = subprocess.run(command, input=json.dumps(GROWING), capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["refused"] * len(GROWING), "")


@pytest.mark.slow
def test_ten_thousand_tasks_are_not_too_many() -> None:
    assert len(members(read("group(add.s(i, i) for i in range(10000)).set(queue='low')"))) == 10_000


def test_a_signature_in_two_places_is_two_tasks() -> None:
    first, second = members(read("group(x.set(countdown=i) for x in [add.s(1, 1)] for i in (1, 2))"))
    assert (first.options, second.options) == ({"countdown": 1}, {"countdown": 2})


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("chain(add.s(1), mul.s(2)).on_error(xsum.s())", [True, True]),
        ("group(add.s(1), mul.s(2)).on_error(xsum.s())", [True, True]),
        ("chord([add.s(1), add.s(2)], mul.s()).on_error(xsum.s())", [False, False, True]),
        ("(group(add.s(1), add.s(2)) | mul.s() | mul.s()).on_error(xsum.s())", [False, False, True, True]),
    ],
)
def test_an_errback_is_called_once_for_a_chord_as_with_celery(text: str, called: list[bool]) -> None:
    assert [leaf.options.get("link_error") == [XSUM] for leaf in leaves(read(text))] == called


def test_a_link_is_called_with_the_last_result() -> None:
    found = leaves(read("chain(add.s(1), group(mul.s(2), mul.s(3))).link(xsum.s())"))
    assert [leaf.options.get("link") for leaf in found] == [None, [XSUM], [XSUM]]


def test_a_map_goes_where_its_task_does() -> None:
    found = leaves(read("group(add.s(1), add.chunks([(1, 2), (3, 4)], 1), xsum.map([[1]]))"))
    assert [leaf.options.get("route_name") for leaf in found] == [None, *["tasks.math.add"] * 2, "tasks.math.xsum"]


def test_a_long_chain_is_no_deep_one() -> None:
    step = read(" | ".join(["add.s(1)"] * 1500))
    assert len(sequence(step)) == 1500


_WORDS = ["add", "mul", "group", "chord", "chain", ".s", ".si", ".set", ".map", "(", ")", "[", "]", "{", "}", ",", "|"]
_WORDS += [
    "for",
    "i",
    "in",
    "range",
    "zip",
    "if",
    "1",
    "9",
    "**",
    "*",
    "+",
    "-",
    "~",
    "not",
    "'a'",
    "f'{i}'",
    " ",
    "\n",
]
_WORDS += [
    ".__class__",
    ":",
    "=",
    "queue=",
    "lambda",
    "await",
    "yield",
    "é",
    "\t",
    "\\",
    "#",
    "None",
    "==",
    "i for i in",
]


@given(st.lists(st.sampled_from(_WORDS), max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_gives_steps_or_a_fleet_error(text: str) -> None:
    with contextlib.suppress(FleetError):
        assert all(task_of(leaf) in NAMES.tasks for leaf in leaves(read(text)))
