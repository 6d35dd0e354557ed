"""Files that are wrong → the whole text of what is said."""

from __future__ import annotations

import pytest

from celeryfleet.errors import Exit, FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.names import SCHEMES

QUEUES = "queues: {default: , mail: }\n"


def problems(text: str, **environ: str) -> str:
    with pytest.raises(FleetError) as caught:
        parse(text, "fleet.yaml", environ)
    assert caught.value.code == Exit.USAGE
    return str(caught.value)


INIT = "Declare queues and pools; `celeryfleet init` writes one that runs as it is."
NOT_TEXT = "Is it the right file? A fleet.yaml is plain text in UTF-8."
TOKEN = "found character that cannot start any token."
TAB = "A tab cannot indent YAML. Indent with spaces."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"1:1: the file is empty. {INIT}"),
        ("# only a comment\n", f"1:1: the file is empty. {INIT}"),
        ("- a\n", f"1:1: the file must be a mapping, but it is a list. {INIT}"),
        ("hello\n", f"1:1: the file must be a mapping, but it is text. {INIT}"),
        ("a: \x00\n", f"1:4: the file holds control characters. {NOT_TEXT}"),
        ("# \ud800\n", f"1:3: the file is not UTF-8. {NOT_TEXT}"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here. Keep one document in a file: remove the ---"),
        (
            "queues:\n\tdefault:\n",
            f"2:1: this is no YAML: while scanning for the next token, {TOKEN} {TAB}",
        ),
        (
            "a: @b\n",
            (
                "1:4: this is no YAML: while scanning for the next token, found character that cannot start any token. "
                "Put a text that starts with this character in quotes."
            ),
        ),
        (
            "a: b: c\n",
            (
                "1:5: this is no YAML: mapping values are not allowed in this context. "
                "Put a text that holds a colon and a space in quotes, or correct the indent."
            ),
        ),
        (
            "a: {b: ${C}}\n",
            (
                "1:9: this is no YAML: while parsing a flow mapping, did not find expected ',' or '}'. "
                "Close the bracket, or put a text that holds one, such as ${VAR}, in quotes."
            ),
        ),
        ("[\n" * 100_000, "41:1: this is nested more than 40 levels deep."),
        ("a: &a [*a]\n", "1:8: *a stands within &a itself."),
        ("x" * (1024 * 1024 + 1), ": the file is larger than 1024 KiB. Is it the right file?"),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
            "5:4: with its aliases expanded, this holds more than 50000 values.",
        ),
        (
            "a: &a {a: {a: {a: {a: {a: {a: {a: {a: x}}}}}}}}\n"
            + "".join(
                f"{b}: &{b} {{a: {{a: {{a: {{a: {{a: {{a: *{a}}}}}}}}}}}}}\n"
                for a, b in zip("abcdef", "bcdefg", strict=True)
            ),
            "6:4: with its aliases expanded, this is nested more than 40 levels deep.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: str, said: str) -> None:
    assert problems(text) == f"fleet.yaml{'' if said.startswith(':') else ':'}{said}"


def test_nesting_on_one_line_is_told_in_our_words_though_the_parser_has_a_limit_of_its_own() -> None:
    said = problems("[" * 100_000)  # at character 41, or at 1001 from PyYAML 6.0.4 on
    assert said.partition(": ")[2] == "this is nested more than 40 levels deep."


KEYS = {
    "duplicate at the top": (
        f"{QUEUES}queues: {{a: }}\n",
        "2:1: the key queues is written twice. It was written first at line 1. Keep one of them.",
    ),
    "duplicate within a queue": (
        "queues:\n  default:\n    arguments: {x: 1, x: 2}\n",
        "3:23: the key x is written twice. It was written first at line 3. Keep one of them.",
    ),
    "duplicate though quoted": (
        "queues:\n  on:\n  'on':\n",
        '3:3: the key "on" is written twice. It was written first at line 2. Keep one of them.',
    ),
    "a list as a key": (
        f"{QUEUES}? [a]\n: b\n",
        "2:3: a key must be text. Put it in quotes if it holds a { or [",
    ),
    "unknown at the top": (f"{QUEUES}quues: 3\n", '2:1: fleet.yaml has no key "quues". Did you mean "queues"?'),
    "a pool's key at the top": (
        f"{QUEUES}concurrency: 4\n",
        '2:1: fleet.yaml has no key "concurrency". It is a key of a pool.',
    ),
    "unknown in a pool": (
        f"{QUEUES}pools: {{web: {{queues: [mail], concurency: 3}}}}\n",
        '2:31: pool "web" has no key "concurency". Did you mean "concurrency"?',
    ),
    "unknown in a part of a pool": (
        f"{QUEUES}pools: {{web: {{queues: [mail], restart: {{bakoff: 3s}}}}}}\n",
        '2:41: restart of pool "web" has no key "bakoff". Did you mean "backoff"?',
    ),
    "unknown and like none": (
        f"{QUEUES}logs: {{zzz: 1}}\n",
        '2:8: logs has no key "zzz". Its keys are format, level, max_size and max_files.',
    ),
    "line in a route": (
        f"{QUEUES}routes: [{{task: x, queue: mail, line: 3}}]\n",
        (
            '2:33: route 1 has no key "line". '
            "Its keys are task, regex, router, queue, exchange, routing_key, headers and priority."
        ),
    ),
    "missing in a pool": (
        f"{QUEUES}pools: {{web: {{replicas: 2}}}}\n",
        '2:9: pool "web" lacks the key "queues". Write queues: [default]',
    ),
    "an alias of nothing": (
        f"{QUEUES}routes: *r\n",
        "2:9: *r refers to no anchor &r above it.",
    ),
    "a tag": (
        "queues: {default: !!python/object/apply:os.abort []}\n",
        (
            "1:19: the tag !!python/object/apply:os.abort is unknown. fleet.yaml needs no tags.\n"
            'fleet.yaml:1:19: queue "default" must be a mapping, but it is a list.'
        ),
    ),
    "merging a text": (
        f"{QUEUES}pools: {{web: {{<<: x, queues: [mail]}}}}\n",
        "2:19: << merges mappings only. Write <<: *anchor",
    ),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_wrong_key_is_named_with_its_place(case: str) -> None:
    text, said = KEYS[case]
    assert problems(text) == f"fleet.yaml:{said}"


SHAPES = {
    "a list for a mapping": (
        "queues: [default, mail]\n",
        (
            "1:9: queues must be a mapping, but it is a list. "
            "Write default: and what belongs to it, without the hyphen or bracket."
        ),
    ),
    "text for a list": (
        f"{QUEUES}pools: {{web: {{queues: 'mail,default'}}}}\n",
        '2:23: queues of pool "web" must be a list, but it is "mail,default". Write queues: [mail, default]',
    ),
    "a mapping for a list": (f"{QUEUES}routes: {{a: b}}\n", "2:9: routes must be a list, but it is a mapping."),
    "nothing for a pool": (
        f"{QUEUES}pools:\n  web:\n",
        '3:3: pool "web" must be a mapping, but it is empty. Write queues: [default] under it.',
    ),
    "nothing for text": (f"{QUEUES}name:\n", "2:1: name must be text, but it is empty."),
    "a list for text": (f"{QUEUES}name: [a]\n", "2:7: name must be text, but it is a list."),
    "nothing in a list": (
        f"{QUEUES}pools: {{web: {{queues: [mail, ~]}}}}\n",
        '2:30: item 2 of queues of pool "web" must be text, but it is empty.',
    ),
    "no queues": (
        "app: shop\n",
        "1:1: fleet.yaml declares no queues. Declare one, such as queues: {default: {}}",
    ),
    "empty sections": (
        "queues:\npools:\n",
        (
            "1:1: queues is empty. Declare one, such as queues: {default: {}}\n"
            "fleet.yaml:2:1: pools is empty. Describe one, such as pools: {web: {queues: [default]}}"
        ),
    ),
    "a mapping without entries for the queues": (
        "queues: {}\n",
        "1:1: queues is empty. Declare one, such as queues: {default: {}}",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_wrong_shape_says_what_is_wanted(case: str) -> None:
    text, said = SHAPES[case]
    assert problems(text) == f"fleet.yaml:{said}"


def _of_web(written: str) -> str:
    return problems(f"{QUEUES}pools:\n  web:\n    queues: [mail]\n    {written}\n").removeprefix("fleet.yaml:")


VALUES = {
    "concurrency: 0": '5:18: concurrency of pool "web" must be a whole number of at least 1 or auto, but it is 0.',
    'concurrency: "4"': '5:18: concurrency of pool "web" must be a whole number of at least 1 or auto, '
    'but it is "4". Write 4 without the quotes.',
    "concurrency: 1_0": '5:18: concurrency of pool "web" must be a whole number of at least 1 or auto, '
    "but it is 1_0. Write 10.",
    "concurrency: 2.5": '5:18: concurrency of pool "web" must be a whole number of at least 1 or auto, but it is 2.5.',
    "concurrency: yes": '5:18: concurrency of pool "web" must be a whole number of at least 1 or auto, but it is yes.',
    "replicas: -1": '5:15: replicas of pool "web" must be a whole number of at least 0, but it is -1.',
    "replicas: 1001": '5:15: replicas of pool "web" must be at most 1000, but it is 1001.',
    "time_limit: 1 parsec": '5:17: time_limit of pool "web" is 1 parsec, which has the unknown unit "parsec". '
    "The units are ms, s, m, h, d or w.",
    "time_limit: 30": '5:17: time_limit of pool "web" is 30, which has no unit. '
    "Write ms, s, m, h, d or w after the number, as in 30s or 1h30m.",
    "time_limit: 1:30": '5:17: time_limit of pool "web" is 1:30, which is not a duration. '
    "Write a number and its unit, as in 30s or 1h30m.",
    "time_limit: 0": '5:17: time_limit of pool "web" must be more than nothing, but it is 0.',
    "time_limit: -5s": '5:17: time_limit of pool "web" is -5s, which is not a duration. '
    "Write a number and its unit, as in 30s or 1h30m.",
    "time_limit: 101000d": '5:17: time_limit of pool "web" is 101000d, which is longer than 100 years.',
    "time_limit: [1s]": '5:17: time_limit of pool "web" must be a duration, such as 30s, but it is a list.',
    "time_limit:": '5:5: time_limit of pool "web" must be a duration, such as 30s, but it is empty.',
    "max_memory_per_child: 400": '5:27: max_memory_per_child of pool "web" is 400, which has no unit. '
    "Write B, kB, MB, GB, TB, KiB, MiB, GiB or TiB after the number, as in 400MB.",
    "max_memory_per_child: 1 bushel": '5:27: max_memory_per_child of pool "web" is 1 bushel, which has the unknown '
    'unit "bushel". The units are B, kB, MB, GB, TB, KiB, MiB, GiB or TiB.',
    "pool: preforc": '5:11: pool of pool "web" must be prefork, threads, gevent, eventlet or solo, but it is preforc. '
    'Did you mean "prefork"?',
    "order: sorted": '5:12: order of pool "web" must be strict or round_robin, but it is sorted.',
    "events: maybe": '5:13: events of pool "web" must be true or false, but it is maybe.',
    "soft_time_limit: 3m\n    time_limit: 2m": '5:22: soft_time_limit of pool "web" must be less than time_limit, '
    "or no task would see it.",
    "autoscale: {min: 4, max: 2}": '5:22: autoscale.min of pool "web" is 4, which is more than max, 2.',
    "autoscale: {min: 1}": '5:5: autoscale of pool "web" lacks the key "max". Write max: 4',
    "replicas: 9\n    autoscale: {max: 6}": '5:15: replicas of pool "web" is 9, but autoscale keeps it from 1 to 6.',
    "restart: {backoff: 2m}": '5:24: restart.backoff of pool "web" must not be longer than max_backoff.',
    "env: {A: [1]}": '5:14: env.A of pool "web" must be text, but it is a list.',
    "env: {A=B: 1}": '5:11: env.A=B of pool "web": the name must not be empty and must hold no =.',
    "profiles: full": '5:15: profiles of pool "web" must be a list, but it is full. Write profiles: [full]',
}


@pytest.mark.parametrize("written", VALUES)
def test_a_wrong_value_says_what_is_wanted(written: str) -> None:
    assert _of_web(written) == VALUES[written]


NAMES = {
    "name: a/b": '2:7: name is "a/b", but it may hold letters, digits, dots, underscores and hyphens, '
    'and starts with a letter or digit. How about "a-b"?',
    "name: ' '": "2:7: name must not be empty.",
    "app: shop/celery.py": '2:6: app is "shop/celery.py", which Python could not import. '
    "Write it with dots: shop.celery",
    "django: a b": '2:9: django is "a b", which Python could not import. Write a dotted path, such as shop.celery',
    "default_queue: mial": '2:16: default_queue is the unknown queue "mial". Did you mean "mail"? '
    "Queues are declared at line 1.",
    "broker: embeded": '2:9: broker is neither embedded nor an URL. Did you mean "embedded"?',
    "broker: redsi://:secret@host": '2:9: broker is an URL of the unknown kind "redsi://". Did you mean "redis://"?',
    "broker: foo://:secret@host": '2:9: broker is an URL of the unknown kind "foo://". '
    "Common kinds are redis://, rediss://, sentinel://, amqp://, amqps:// and sqs://.",
    "broker: {url: 'redis://a;redsi://:secret@b'}": '2:15: broker.url is an URL of the unknown kind "redsi://". '
    'Did you mean "redis://"?',
    "broker: redsi+socket:///x": '2:9: broker is an URL of the unknown kind "redsi+socket://". '
    'Did you mean "redis+socket://"?',
    "broker: shop.Transport://h": '2:9: broker is an URL of the unknown kind "shop.Transport://". '
    "An URL names no module: write celery: {broker_transport: shop.Transport} too.",
    "celery: {broker_url: 'foo://h'}": '2:22: celery.broker_url is an URL of the unknown kind "foo://". '
    "Common kinds are redis://, rediss://, sentinel://, amqp://, amqps:// and sqs://.",
    "celery: {broker_url: }": "2:10: celery.broker_url is empty. Remove it, or write broker: at the top.",
    "broker: {url: redis://h, visibility_timeout: 3}": "2:46: broker.visibility_timeout is 3, which has no unit. "
    "Write ms, s, m, h, d or w after the number, as in 30s or 1h30m.",
    "results: djangodb": '2:10: results is no result backend. Did you mean "django-db"?',
    "preload: maybe": "2:10: preload must be auto, true or false, but it is maybe.",
    "ledger: maybe": "2:9: ledger must be a mapping, but it is maybe.",
    "ledger: {keep: 3}": "2:16: ledger.keep is 3, which has no unit. "
    "Write ms, s, m, h, d or w after the number, as in 30s or 1h30m.",
    "logs: {format: jsn, max_size: 0}": '2:16: logs.format must be text or json, but it is jsn. Did you mean "json"?\n'
    "fleet.yaml:2:31: logs.max_size must be more than nothing, but it is 0.",
    "pools: {mail: {queues: [default, maill]}}": '2:34: pool "mail" reads the unknown queue "maill". '
    'Did you mean "mail"? Queues are declared at line 1.',
    "pools: {web: {queues: [mail, mail]}}": '2:30: pool "web" reads the queue "mail" twice. Name it once.',
    "pools: {web: {queues: []}}": '2:23: pool "web" reads no queue. Write queues: [default]',
    "pools: {w.x: {queues: [mail]}}": '2:9: pool "w.x": the name may hold letters, digits, underscores and hyphens, '
    "and starts with no hyphen.",
    "pools: {web: {queues: [mail]}, web-1: {queues: [mail]}}": '2:32: pool "web-1" is named as a worker of pool "web" '
    "is. Give one of the two pools another name.",
    "tasks: {weather: {}}": '2:9: task alias "weather" lacks the key "task". Write task: shop.tasks.report',
    "tasks: {'': shop.weather}": '2:9: task alias "": the name must have a name.',
    "canvases: {chord: ''}": '2:19: canvas "chord" must not be empty.',
}


@pytest.mark.parametrize("written", NAMES)
def test_a_name_that_means_nothing_says_what_there_is(written: str) -> None:
    assert problems(f"{QUEUES}{written}\n") == f"fleet.yaml:{NAMES[written]}"


def test_the_kinds_of_brokers_are_those_that_kombu_has() -> None:
    from kombu.transport import TRANSPORT_ALIASES

    assert sorted(SCHEMES) == sorted({name.lower() for name in TRANSPORT_ALIASES})


@pytest.mark.parametrize(
    "written",
    [
        "broker: SQS://h",
        "broker: SQS+https://h",
        "broker: sqla+mysql://h/x",
        "broker: redis+socket:///run/redis",
        "broker: sentinel://a;sentinel://b;c",
        "celery: {broker_transport: 'shop:Transport'}\nbroker: foo://h",
    ],
)
def test_an_url_that_kombu_has_a_transport_for_is_taken(written: str) -> None:
    parse(f"{QUEUES}{written}\n", "fleet.yaml", {})


EMPTIED = {
    "broker: ${URL}": "2:1: broker is empty, since the variable URL is. Give it a value, or write ${URL:-default}.",
    "broker: {url: '${URL}'}": "2:15: broker.url is empty, since the variable URL is. "
    "Give it a value, or write ${URL:-default}.",
    "broker: ${URL}${MORE:-}": "2:1: broker is empty, since the variables URL and MORE are. Give one of them a value.",
    "celery: {broker_url: '${URL}'}": "2:22: celery.broker_url is empty, since the variable URL is. "
    "Give it a value, or write ${URL:-default}.",
}


@pytest.mark.parametrize("written", EMPTIED)
def test_what_is_empty_since_its_variable_is_names_the_variable(written: str) -> None:
    assert problems(f"{QUEUES}{written}\n", URL="") == f"fleet.yaml:{EMPTIED[written]}"


QUEUE_NAMES = {
    "'a b'": '"a b": the name must hold no spaces and no commas, since `celery worker -Q` splits its list at them.',
    "'a,b'": '"a,b": the name must hold no spaces and no commas, since `celery worker -Q` splits its list at them.',
    "''": '"": the name must not be empty.',
    r'"a\x06\x163"': r'"a\x06\x163": the name must hold no control characters; '
    "with them kombu names the priority lists of a Redis queue.",
    "-x": '"-x": the name must not start with a hyphen, or `celery worker -Q` takes it for an option.',
    "unacked": '"unacked": the name starts as a name that the broker or kombu keeps for itself.',
    "x" * 201: f'"{"x" * 59}…": the name must be at most 200 characters long.',
}


@pytest.mark.parametrize("written", QUEUE_NAMES)
def test_a_queue_that_no_worker_could_read_is_refused(written: str) -> None:
    assert problems(f"queues:\n  ? {written}\n  : {{}}\n") == f"fleet.yaml:2:5: queue {QUEUE_NAMES[written]}"


DOCS = "exchange: {name: docs, type: headers}"
HEADERS = {
    "headers: {kind: pdf}": '2:16: headers of queue "q" decide at an exchange of type headers only. '
    "Give the queue exchange: {name: docs, type: headers}, or remove them.",
    "exchange: {name: x, type: topic}, headers: {kind: pdf}": '2:50: headers of queue "q" decide at an exchange of '
    "type headers only. Give the queue exchange: {name: x, type: headers}, or remove them.",
    f"{DOCS}, headers: pdf": '2:55: headers of queue "q" must be a mapping, but it is pdf. Write headers: {kind: pdf}',
    f"{DOCS}, headers: {{kind: [pdf]}}": '2:62: headers.kind of queue "q" must be a text, a number, true or false, '
    "but it is a list.",
    f"{DOCS}, headers: {{kind: }}": '2:56: headers.kind of queue "q" must be a text, a number, true or false, '
    "but it is empty.",
    f"{DOCS}, headers: {{n: {2**63}}}": '2:59: headers.n of queue "q" cannot be sent: it is a number of more than '
    "64 bits.",
    f"{DOCS}, headers: {{x-match: al, kind: pdf}}": '2:65: headers.x-match of queue "q" must be all or any, '
    'but it is al. Did you mean "all"?',
    f"{DOCS}, headers: {{x-kind: pdf}}": '2:64: headers.x-kind of queue "q" can\'t be asked for: RabbitMQ passes over '
    "headers that begin with x-.",
    f"{DOCS}, headers: {{x-match: any}}": '2:55: headers of queue "q" names no header. '
    "Write headers: {x-match: any, kind: pdf}, or leave it out for all messages.",
}


@pytest.mark.parametrize("written", HEADERS)
def test_headers_that_no_exchange_would_look_at_are_refused(written: str) -> None:
    assert problems(f"queues:\n  q: {{{written}}}\n") == f"fleet.yaml:{HEADERS[written]}"


ROUTES = {
    "{task: a, regex: b, queue: mail}": "2:27: regex of route 1 cannot stand beside task. Keep one of them.",
    "{queue: mail}": "2:10: route 1 does not say which tasks it is for. "
    "Give it one of task, regex and router, such as task: shop.*",
    "{task: x}": "2:10: route 1 does not say where its tasks go. Give it a queue, such as queue: default",
    "{router: a.b, queue: mail}": "2:31: queue of route 1 cannot stand beside router. A router decides by itself.",
    "{task: x, queue: mail, exchange: mail}": "2:43: exchange of route 1 cannot stand beside queue. Keep one of them.",
    "{task: x, queue: maul}": '2:27: route 1 sends to the unknown queue "maul". Did you mean "mail"? '
    "Queues are declared at line 1.",
    "{task: x, exchange: nope}": '2:30: route 1 sends to the exchange "nope", which no queue declares. '
    "Give a queue exchange: {name: nope, type: topic}",
    "{task: x, queue: mail, priority: 10}": "2:43: priority of route 1 must be a whole number from 0 to 9, "
    "but it is 10. 9 runs first.",
    "{task: x, headers: {task: y}}": "2:36: headers.task of route 1 is one of Celery's own headers. "
    "Choose another name.",
    "{router: a.b, headers: {a: b}}": "2:33: headers of route 1 cannot stand beside router. "
    "A router decides by itself.",
    "{regex: '(', queue: mail}": '2:18: regex of route 1 is "(", which is no regular expression: '
    "missing ), unterminated subpattern at character 1.",
    "{regex: 'a{99999999999}', queue: mail}": '2:18: regex of route 1 is "a{99999999999}", '
    "which is no regular expression: the repetition number is too large.",
    "x": "2:10: route 1 must be a mapping, but it is x.",
}


@pytest.mark.parametrize("written", ROUTES)
def test_a_route_that_cannot_decide_is_refused(written: str) -> None:
    assert problems(f"{QUEUES}routes: [{written}]\n") == f"fleet.yaml:{ROUTES[written]}"


def test_a_priority_may_go_up_to_the_queues_own_maximum() -> None:
    queues = "queues: {default: , video: {max_priority: 20}}\n"
    fleet = parse(f"{queues}routes: [{{task: x, queue: video, priority: 20}}]\n", "fleet.yaml", {})
    assert fleet.routes[0].priority == 20
    assert problems(f"{queues}routes: [{{task: x, queue: video, priority: 21}}]\n") == (
        "fleet.yaml:2:44: priority of route 1 must be a whole number from 0 to 20, but it is 21. 20 runs first."
    )


def test_queues_that_contradict_one_another_are_named() -> None:
    text = """\
queues:
  a: {exchange: {name: events, type: topic}}
  b: {exchange: {name: events, type: fanout}}
  c: {max_priority: 5, arguments: {x-max-priority: 9}}
"""
    assert problems(text) == (
        'fleet.yaml:3:17: queue "b" makes the exchange "events" fanout, but queue "a" makes it topic. '
        "An exchange has one type.\n"
        'fleet.yaml:4:36: queue "c" has both max_priority and the argument x-max-priority. Keep one of them.'
    )


BEAT = {
    "{task: x, crontab: '61 * * * *'}": 'crontab of schedule "n" is "61 * * * *", which is no crontab. '
    "Write minute, hour, day of month, month and day of week, such as 0 3 * * *",
    "{task: x}": 'schedule "n" does not say when. Give it crontab: "0 3 * * *" or every: 10m',
    "{task: x, every: 1s, options: {queue: maill}}": 'schedule "n" sends to the unknown queue "maill". '
    'Did you mean "mail"? Queues are declared at line 1.',
    "{task: x, crontab: '* * * * *', every: 1s}": 'every of schedule "n" cannot stand beside crontab. '
    "Keep one of them.",
}


@pytest.mark.parametrize("written", BEAT)
def test_a_schedule_that_could_never_be_is_refused(written: str) -> None:
    said = problems(f"{QUEUES}beat: {{schedule: {{n: {written}}}}}\n")
    assert said.partition(": ")[2] == BEAT[written]


def test_all_problems_of_a_file_are_told_at_once_in_their_order() -> None:
    text = """\
name: a/b
queues:
  mail: {max_agee: 3s}
  mail: {}
  'a b':
routes:
  - {regex: '(', queue: mial}
pools:
  web:
    queues: [mial]
    concurrency: 0
    soft_time_limit: 2m
    time_limit: 1m
celery: {task_ack_late: true}
app: ${APP}
"""
    places = [line.split(": ")[0] for line in problems(text).splitlines()]
    assert places == [
        f"fleet.yaml:{place}"
        for place in ("1:7", "3:10", "4:3", "5:3", "7:13", "7:25", "10:14", "11:18", "12:22", "14:10", "15:6")
    ]


def test_a_section_that_lacks_a_key_is_read_all_the_same() -> None:
    assert problems(f"{QUEUES}beat: {{schedule: {{n: {{crontab: '61 * * * *'}}}}}}\n") == (
        'fleet.yaml:2:19: schedule "n" lacks the key "task". Write task: shop.tasks.report\n'
        'fleet.yaml:2:32: crontab of schedule "n" is "61 * * * *", which is no crontab. '
        "Write minute, hour, day of month, month and day of week, such as 0 3 * * *"
    )


def test_every_header_that_no_queue_can_want_is_named() -> None:
    said = problems(f"queues:\n  q: {{{DOCS}, headers: {{x-match: al, x-kind: pdf, n: [1]}}}}\n")
    assert [line.split(": ")[0] for line in said.splitlines()] == [
        f"fleet.yaml:{at}" for at in ("2:65", "2:77", "2:85")
    ]


def test_a_misspelt_key_is_not_also_said_to_be_missing_from_what_decides() -> None:
    assert problems(f"{QUEUES}routes: [{{taks: x, queue: mail}}]\n") == (
        'fleet.yaml:2:11: route 1 has no key "taks". Did you mean "task"?'
    )


def test_nothing_is_said_that_only_follows_from_another_problem() -> None:
    text = f"{QUEUES}routes: [{{regex: '(', queue: mail}}]\npools: {{web: {{queues: ['${{NO}}']}}}}\nbroker: ${{NO}}\n"
    assert [line.split(": ")[0] for line in problems(text).splitlines()] == [
        "fleet.yaml:2:18",
        "fleet.yaml:3:24",
        "fleet.yaml:4:9",
    ]


@pytest.mark.parametrize(
    "written",
    [
        "broker: redsi://:hunter2@host",
        "broker: 'no url with hunter2'",
        "results: hunter2",
        "broker: ['redis://:hunter2@h']",
        "broker: {url: 'hunter2://', server: }",
    ],
)
def test_a_credential_is_not_part_of_what_is_said(written: str) -> None:
    said = problems(f"{QUEUES}{written}\nname: a/b\n")
    assert "hunter2" not in said.replace("hunter2://", "")


def test_a_value_from_a_variable_is_shown_as_it_was_written() -> None:
    said = problems(f"{QUEUES}pools: {{web: {{queues: [mail], replicas: '${{N}}'}}}}\n", N="hunter2")
    assert said == ('fleet.yaml:2:41: replicas of pool "web" must be a whole number of at least 0, but it is "${N}".')


# --- Several apps -----------------------------------------------------------------------------------------

APPS = f"{QUEUES}apps: {{shop: shop.celery:app, ml: {{app: ml.celery, django: ml.settings}}}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{APPS}pools: {{web: {{queues: [default]}}}}\n",
            '3:9: pool "web" does not say of which app it is. Write app: shop or ml',
        ),
        (
            f"{APPS}pools: {{web: {{queues: [default], app: mll}}}}\n",
            '3:39: pool "web" is of the unknown app "mll". Did you mean "ml"?',
        ),
        (
            f"{APPS}pools: {{web: {{queues: [default], app: x}}}}\n",
            '3:39: pool "web" is of the unknown app "x". The apps are shop and ml.',
        ),
        (f"{APPS}beat: true\n", "3:1: beat does not say of which app it is. Write app: shop or ml"),
        (f"{APPS}app: shop\n", "3:1: app cannot stand beside apps. Write it as one of apps."),
        (f"{APPS}django: shop.settings\n", "3:1: django cannot stand beside apps. Write it as one of apps."),
        (f"{QUEUES}apps: {{}}\n", "2:1: apps is empty. Name one, such as apps: {web: shop.celery}"),
        (f"{QUEUES}apps:\n", "2:1: apps is empty. Name one, such as apps: {web: shop.celery}"),
        (f"{QUEUES}apps: {{a: {{}}}}\n", '2:8: app "a" lacks the key "app". Write app: shop.celery'),
        (
            f"{QUEUES}pools: {{web: {{queues: [default], app: ml}}}}\n",
            '2:39: pool "web" is of the unknown app "ml". Name it in apps.',
        ),
    ],
)
def test_what_is_of_no_app_or_of_an_unknown_one_is_told(text: str, said: str) -> None:
    assert problems(text) == f"fleet.yaml:{said}"


def test_a_fleet_of_one_named_app_need_not_name_it_again() -> None:
    fleet = parse(
        f"{QUEUES}apps: {{web: shop.celery}}\npools: {{a: {{queues: [default]}}}}\nbeat: true\n", "f.yaml", {}
    )
    assert fleet.beat is not None
    assert (fleet.app_of(fleet.pools["a"]), fleet.app_of(fleet.beat)) == ("web", "web")
    assert parse(f"{APPS}beat: false\n", "f.yaml", {}).beat is None
