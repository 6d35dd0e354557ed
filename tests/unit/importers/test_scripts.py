"""Scripts, Dockerfiles and image paths: what a command starts that is not written where the command is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from posixpath import normpath

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse
from celeryfleet.fleetfile.model import Pool
from celeryfleet.importers.document import Ask, Result
from celeryfleet.importers.formats import convert
from celeryfleet.importers.found import Fate


def repository(files: Mapping[str, str], kind: str, file: str, **known: str) -> Result:
    texts = {path: textwrap.dedent(text).lstrip("\n") for path, text in files.items()}
    return convert(texts[file], Ask(kind, file, known=known, read=lambda path: texts.get(normpath(path))))


def pools(result: Result, **variables: str) -> dict[str, Pool]:
    return dict(parse(result.text, "/srv/shop/fleet.yaml", variables, opened=lambda name: "").pools)


def said(result: Result, fate: Fate) -> str:
    return "\n".join(map(str, (note for note in result.notes if note.fate is fate)))


def script(text: str, **known: str) -> Result:
    return repository({"run.sh": text}, "multi", "run.sh", **known)


def worker(text: str, **known: str) -> Pool:
    (pool,) = pools(script(text, **known)).values()
    return pool


@pytest.mark.parametrize(
    "text",
    [
        "Q=${QUEUES:=a,b}\ncelery -A shop worker -Q $Q -c 3",
        ": ${QUEUES:=a,b}\ncelery -A shop worker -Q $QUEUES -c 3",
        'Q=${QUEUES:-"a,b"}\ncelery -A shop worker -Q "$Q" -c 3',
        "Q=${QUEUES:-'a,b'}\ncelery -A shop worker -Q ${Q} -c 3",
        "celery -A shop worker ${CELERY_OPTS:--Q a,b -c 3}",
        'OPTS="-Q a,b -c 3"\nexec celery -A shop worker $OPTS',
        "OPTS=(-Q a,b)\nOPTS+=( -c 3 )\ncelery -A shop worker ${OPTS[@]}",
        'options=(\n  "-Qa,b"\n  -c3\n)\nexec celery -A shop worker "${options[@]}" -E',
        'CMD="celery -A shop worker"\n$CMD -Q a,b \\\n  -c 3',
        'FLAGS=""\n[ "$X" = y ] || FLAGS="$FLAGS -Q a,b"\ncelery -A shop worker $FLAGS -c 3',
        'run() {\n  local -r queues="$1"\n  exec celery -A shop worker -Q "$queues" -c "${2}"\n}\nrun a,b 3',
        "set -- -Q a,b -c 3\nexec celery -A shop worker \"$@\"",
        "for queues in a,b; do celery -A shop worker -Q $queues -c 3; done",
        'while true; do celery -A shop worker -Q a,b -c 3; sleep 1; done',
        "until nc -z db 5432; do sleep 1; done\ncelery -A shop worker -Q a,b -c 3",
        'if [ -z "$DATABASE_URL" ]; then\n  echo missing\n  exit 1\nfi\ncelery -A shop worker -Q a,b -c 3',
        'if [ "$STAGE" = ci ]; then N=1; else N=3; fi\ncelery -A shop worker -Q a,b -c $N',
        'if [ "${FF:-false}" = true ]; then celery -A shop worker -Q z; else celery -A shop worker -Q a,b -c 3; fi',
        "cat > /tmp/x <<EOF\ncelery -A shop worker -Q z\nEOF\ncelery -A shop worker -Q a,b -c 3",
        '_celery=$(which celery)\nexec $_celery -A shop worker -Q a,b -c 3',
        'M=celery\ncase "$M" in\n  web) gunicorn x ;;\n  celery|w) celery -A shop worker -Q a,b -c 3 ;;\nesac',
        '(celery -A shop worker -Q a,b -c 3) & wait',
        'python manage.py migrate && celery -A shop worker -Q a,b -c 3 || exit 1',
        'eval "celery -A shop worker -Q a,b -c 3"',
        "exec > >(tee -a /var/log/x.log) 2>&1\ncelery -A shop worker -Q a,b -c 3",
        'Q=$(case "$1" in a) echo z ;; (b) echo y ;; esac)\ncelery -A shop worker -Q a,b -c 3',
        "HERE=`basename \\`pwd\\``\ncelery -A shop worker -Q a,b -c 3",
        "M=$(grep \"can't\" log)\ncelery -A shop worker -Q 'a,b' -c 3",
        'M="${GREETING:-it\'s}"\ncelery -A shop worker -Q \'a,b\' -c 3',
        "(( N = 1 << 2 ))\ncelery -A shop worker -Q a,b -c 3",
        "cat <<EOF\r\nx\r\nEOF\r\ncelery -A shop worker -Q a,b -c 3\r\n",
        "X=$(cat <<EOF\na) b\nEOF\n)\ncelery -A shop worker -Q a,b -c 3",
        "Q=(a,b c)\ncelery -A shop worker -Q $Q -c 3",
    ],
)  # fmt: skip
def test_a_script_is_followed_to_its_worker(text: str) -> None:
    found = worker(text)
    assert (list(found.queues), found.concurrency) == (["a", "b"], 3)


def test_several_workers_of_one_line_are_all_taken() -> None:
    result = script("celery -A shop worker -Q a & celery -A shop worker -Q b & wait")
    assert [list(pool.queues) for pool in pools(result).values()] == [["a"], ["b"]]


def test_a_variable_of_the_environment_stays_a_variable() -> None:
    text = script("N=${WORKERS:-4}\nexec celery -A shop worker -Q a -c $N --time-limit=${LIMIT}").text
    assert "concurrency: ${WORKERS:-4} " in text
    assert "time_limit: ${LIMIT}s " in text


def test_what_is_not_known_is_taken_as_not_set_and_what_that_decides_is_said() -> None:
    result = script('if [ "$FAST" = yes ]; then celery -A shop worker -Q a -c 9; fi\ncelery -A shop worker -Q b')
    assert [list(pool.queues) for pool in pools(result).values()] == [["b"]]
    assert "run.sh:1: `celery worker` in a branch that is not taken: nothing tells what FAST holds" in said(
        result, Fate.LOST
    )
    told = script('if [ "$FAST" = yes ]; then celery -A shop worker -Q a -c 9; fi\ncelery -A shop worker', FAST="yes")
    assert len(pools(told)) == 2


def test_what_arithmetic_decides_is_said() -> None:
    """It was taken as a command that succeeds, and the `<` in it as a file."""
    result = script("if ((FAST > 1)); then celery -A shop worker -Q a; else celery -A shop worker -Q b; fi")
    assert [list(pool.queues) for pool in pools(result).values()] == [["b"]]
    assert "in a branch that is not taken: nothing tells what $((FAST>1)) holds" in said(result, Fate.LOST)


def test_a_loop_over_no_items_starts_nothing() -> None:
    """An array that is known to be empty was not known, and its loop was followed once."""
    text = 'Q=()\nfor q in "${Q[@]}"; do celery -A shop worker -Q $q; done\ncelery -A shop worker -Q b'
    assert worker(text).queues == ("b",)


ENTRYPOINT = """
#!/bin/bash
set -e
main() {
    case "$1" in
      run)
        shift
        case "$1" in
          mail) exec celery -A shop worker -Q mail ;;
          'video') exec celery -A shop worker -Q video ;;
          beat) exec celery -A shop beat ;;
          *) exit 1 ;;
        esac
        ;;
      web) exec gunicorn shop.wsgi ;;
      *) exec "$@" ;;
    esac
}
main "$@"
"""


def test_a_script_that_starts_what_its_arguments_name_is_read_once_for_each() -> None:
    result = repository({"entry.sh": ENTRYPOINT}, "multi", "entry.sh")
    assert {name: list(pool.queues) for name, pool in pools(result).items()} == {"mail": ["mail"], "video": ["video"]}
    assert "\nbeat: {} " in result.text


DOCKERFILE = """
ARG VERSION=3
FROM python:${VERSION} AS base
WORKDIR /srv
ENV QUEUES="a,b" \\
    # how many
    WORKERS=3
FROM node AS assets
CMD ["node"]
FROM base AS release
COPY --chown=app:app docker/entry.sh docker/other.sh /
COPY . .
ENTRYPOINT ["/entry.sh"]
CMD ["run", "mail"]
FROM release AS tests
CMD ["pytest"]
"""


@pytest.mark.parametrize(
    ("service", "queues"),
    [
        ("{build: {context: ., target: release}}", ["mail"]),
        ("{build: {context: ., target: release}, command: [run, video]}", ["video"]),
        ("{build: {context: ., target: release}, command: celery -A shop worker -Q x}", ["x"]),
        ("{build: {context: ., target: release}, entrypoint: /entry.sh run mail}", ["mail"]),
        ("{build: ./app, entrypoint: [tini, --, sh, ./docker/entry.sh], command: run video}", ["video"]),
        ("{build: {context: ., dockerfile: other.Dockerfile}}", ["a", "b"]),
        ("{build: {dockerfile: other.Dockerfile}, environment: {QUEUES: z}}", ["z"]),
        ("{build: {dockerfile: other.Dockerfile}, image: 'shop:1'}", ["a", "b"]),
        ("{image: 'built:1', command: [run, mail]}", ["mail"]),
        ("{image: python, volumes: ['./docker:/app'], command: /app/entry.sh run mail}", ["mail"]),
        ("{image: python, command: wait-for-it.sh db:1 -t 30 -- /docker/entry.sh run mail}", ["mail"]),
        ("{image: python, command: bash -c 'sleep 3 && docker/entry.sh run mail'}", ["mail"]),
    ],
)
def test_a_service_runs_what_its_image_says(service: str, queues: list[str]) -> None:
    web = "{image: 'built:1', build: {target: release}, command: web}"
    files = {
        "docker-compose.yml": f"services:\n  w: {service}\n  web: {web}\n",
        "Dockerfile": DOCKERFILE,
        "app/Dockerfile": "FROM python\nWORKDIR /code\nCOPY . /code\n",
        "app/docker/entry.sh": ENTRYPOINT.lstrip("\n"),
        "other.Dockerfile": f"{DOCKERFILE}FROM base\nCMD exec celery -A shop worker -Q $QUEUES -c $WORKERS\n",
        "docker/entry.sh": ENTRYPOINT.lstrip("\n"),
    }
    (pool,) = pools(repository(files, "compose", "docker-compose.yml")).values()
    assert list(pool.queues) == queues
    assert pool.env == ({"QUEUES": "z"} if queues == ["z"] else {})


def test_the_services_of_included_files_are_read() -> None:
    files = {
        "docker-compose.yml": "include: [a.yml, {path: [b.yml]}, gone.yml]\nservices: {c: {image: x, command: x}}\n",
        "a.yml": "services: {a: {command: celery -A shop worker -Q a}}\n",
        "b.yml": "services: {b: {command: celery -A shop worker -Q b}}\n",
    }
    result = repository(files, "compose", "docker-compose.yml")
    assert list(pools(result)) == ["a", "b"]
    assert "docker-compose.yml:1: `include` gone.yml is not followed" in said(result, Fate.LOST)


def test_a_command_of_a_dockerfile_is_placed_there() -> None:
    files = {
        "docker-compose.yml": "services: {w: {build: .}}\n",
        "Dockerfile": "FROM python\nENV DJANGO_SETTINGS_MODULE=shop.settings\nCMD celery -A shop worker -Q a\n",
    }
    result = repository(files, "compose", "docker-compose.yml")
    assert result.pools == {"w": ("Dockerfile:3 w",)}
    assert "\ndjango: shop.settings " in result.text


def test_the_env_files_of_a_service_decide_what_its_script_starts() -> None:
    files = {
        "docker-compose.yml": "services: {w: {env_file: .env, command: ./run.sh}}\n",
        ".env": "NETWORK=True\nFLAGS=--concurrency=3 --pool=threads\nPASSWORD=hunter2\n",
        "run.sh": """
            celery -A shop worker -Q a $FLAGS -n a@$PASSWORD &
            if [ "$NETWORK" = True ]; then celery -A shop worker -Q b; fi
            """,
    }
    result = repository(files, "compose", "docker-compose.yml")
    first, second = pools(result).values()
    assert (list(first.queues), first.concurrency, first.pool) == (["a"], 3, "threads")
    assert list(second.queues) == ["b"]
    assert "hunter2" not in result.text


def test_scripts_that_are_sourced_tell_their_variables_and_functions() -> None:
    files = {
        "Procfile": "w: bin/run\n",
        "bin/run": "#!/bin/sh\n. bin/lib.sh\nstart\n",
        "bin/lib.sh": "QUEUES=a,b\nstart() { exec celery -A shop worker -Q $QUEUES; }\n",
    }
    (pool,) = pools(repository(files, "procfile", "Procfile")).values()
    assert list(pool.queues) == ["a", "b"]


@pytest.mark.parametrize("text", ["./b.sh", "X='eval $X'\neval $X", "f() { f; }\nf", ". ./a.sh"])
def test_scripts_that_call_one_another_for_ever_are_refused(text: str) -> None:
    files = {"Procfile": "celery: ./a.sh\n", "a.sh": f"{text}\n", "b.sh": "./a.sh\n"}
    with pytest.raises(FleetError, match="celery: no shell could read this: Scripts call one another more than"):
        repository(files, "procfile", "Procfile")


def test_a_program_that_starts_what_a_file_lists_is_an_error_that_names_how_to_import_it() -> None:
    files = {
        "docker-compose.yml": "services: {jobs: {command: supervisord -n -c /etc/app.conf}}\n",
        "app.conf": "[program:w]\ncommand=celery -A shop worker\n",
    }
    with pytest.raises(FleetError, match=r"`celeryfleet import supervisord app\.conf` reads it"):
        repository(files, "compose", "docker-compose.yml")


# --- Loops ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loop",
    [
        "for i in {1..3}; do",
        "for i in w{1..3}; do",
        "for i in a b c; do",
        "for i in {a,b,c}; do",
        "for i in $(seq 3); do",
        "N=4\nfor i in `seq 2 4`; do",
        "N=3\nfor i in $(seq 1 $N); do",
        "for ((i=0; i<3; i++)); do",
        "for (( i = 1; i <= 3; ++i ))\ndo",
    ],
)
def test_a_loop_that_counts_starts_as_many_workers(loop: str) -> None:
    """They were one worker, and none at all where the loop is as in C."""
    found = pools(script(f"{loop}\n  celery -A shop worker -Q mail -n w$i@%h &\ndone\n"))
    assert sum(pool.replicas for pool in found.values()) == 3


@pytest.mark.parametrize(
    ("loop", "what"),
    [
        ("for i in $TOKENS; do", "${TOKENS}"),
        ("for i in $(seq 1 $N); do", "$(seq 1 $N)"),
        ('IFS=, read -ra QS <<< "$QUEUES"\nfor i in "${QS[@]}"; do', "${QS[@]}"),
        ("for i in ${QUEUES//,/ }; do", "${QUEUES//,/ }"),
        ("for i in /etc/celery/*.env; do", "/etc/celery/*.env"),
        ("for ((i=0; i<$N; i++)); do", "$((i=0;i<$N;i++))"),
        ("i=0\nwhile [ $i -lt 3 ]; do", "a condition"),
        ("while [ -f /run/x ]; do", "a condition"),
        ("while (( i < 3 )); do", "a condition"),
        ("cat queues | while read i; do", "a condition"),
    ],
)
def test_a_loop_whose_rounds_are_not_told_is_said(loop: str, what: str) -> None:
    """It was followed once, and nobody was told of the other workers."""
    lost = said(script(f"{loop}\n  celery -A shop worker -Q mail &\ndone\n"), Fate.LOST)
    assert f"a loop over {what} is followed once: how often it runs is not told, so workers may be missing" in lost
    assert "a loop over" not in said(script('for q in "$Q"; do celery -A shop worker; done'), Fate.LOST)
    assert "a loop over" not in said(script("sleep 1\nwhile true; do celery -A shop worker; done"), Fate.LOST)


def test_what_read_sets_is_not_known() -> None:
    """The queue of the loop before it was taken."""
    text = "for q in a; do celery -A shop worker -Q $q & done\nwhile read q; do celery -A shop worker -Q $q & done\n"
    assert "`-Q ${q}`: the file does not tell what it holds" in said(script(text), Fate.LOST)


@pytest.mark.parametrize("command", ["xargs -n 1", "parallel -j 2"])
def test_a_program_that_gives_words_of_its_own_is_not_understood(command: str) -> None:
    with pytest.raises(FleetError, match=r"how often .* starts it, and with which words, is not told"):
        script(f"cat queues | {command} celery -A shop worker -Q\n")


def test_a_value_is_cut_as_a_shell_cuts_it() -> None:
    text = 'for spec in mail:4; do celery -A shop worker -Q "${spec%%:*}" -c ${spec##*:} -n ${spec%4}x@%h; done'
    pool = worker(text)
    assert (pool.queues, pool.concurrency) == (("mail",), 4)
    assert "`-Q ${Q%%:*}`: the file does not tell" in said(script("celery -A shop worker -Q ${Q%%:*}"), Fate.LOST)


@pytest.mark.parametrize("text", ['"$@"', '"${EXTRA[@]}"', 'EXTRA=()\n"${EXTRA[@]}"'])
def test_arguments_of_none_are_no_empty_word(text: str) -> None:
    """`"$@"` of a script without arguments was said to be an empty word that belongs to no option."""
    before, _, last = text.rpartition("\n")
    result = script(f"{before}\nexec celery -A shop worker -c 4 {last}\n")
    assert "belongs to no option" not in said(result, Fate.LOST)


def test_what_start_stop_daemon_starts_has_its_options_after_two_dashes() -> None:
    pool = worker("start-stop-daemon --start --exec /srv/bin/celery -- -A shop worker -Q c\n")
    assert pool.queues == ("c",)


@pytest.mark.parametrize(
    "command",
    [
        "python -m shop.celery_worker",
        "python3 -c \"from shop import app; app.worker_main(['worker'])\"",
        "python manage.py celery_worker",
        "./manage.py run_celery --queue a",
        "make -C deploy worker",
    ],
)
def test_a_command_that_may_start_workers_out_of_sight_is_not_understood(command: str) -> None:
    """They were missed in silence, and Python's code was read as a shell's."""
    with pytest.raises(FleetError, match="what it starts is not looked into"):
        repository({"Procfile": f"a: celery -A shop worker\njobs: {command}\n"}, "procfile", "Procfile")
    others = """
        a: watchfiles --filter python "celery -A shop worker" shop
        b: python -c "print(1); print(2)"
        c: python manage.py migrate django_celery_beat
        d: python -m celery_exporter
        e: make static
    """
    repository({"Procfile": others}, "procfile", "Procfile")


def test_options_that_a_condition_adds_are_said_where_nothing_tells_of_it() -> None:
    """What `ARGS+=(…)` added was left out in silence, and so was what `${BEAT:-}` decides."""
    for condition in ("$BEAT = yes", '-n "${BEAT:-}"'):
        result = script(f"ARGS=(-Q a)\nif [[ {condition} ]]; then ARGS+=(-B); fi\ncelery -A shop worker ${{ARGS[@]}}")
        assert "run.sh:2: ARGS is not set here: nothing tells what BEAT holds" in said(result, Fate.CHANGED)


@pytest.mark.parametrize("guard", ['[[ -z "${1:-}" ]]', "[ $# -eq 0 ]", '[ ! "$1" ]'])
def test_a_script_that_ends_without_an_argument_is_read_for_each_that_it_knows(guard: str) -> None:
    """It was taken to start nothing, for it ended before it named them."""
    text = f'if {guard}; then\n  echo usage\n  exit 1\nfi\ncase "$1" in\n  mail) celery -A shop worker -Q mail ;;\nesac'
    assert list(pools(script(text))) == ["mail"]


def test_celery_in_a_folder_that_a_variable_names_is_found() -> None:
    assert list(worker('su shop --command "nice ${BIN}celery -A shop worker -Q a $@"').queues) == ["a"]


def test_what_a_client_of_a_database_is_given_is_no_script() -> None:
    """`select` was read as the shell's, without its `do`."""
    assert worker('psql -c "select 1"\nsed -i "s/a;b/(/" /app/cli.py\ncelery -A shop worker').concurrency == "auto"


def test_a_script_that_is_not_here_is_said_whatever_its_name() -> None:
    """A service whose name tells nothing was missed in silence; one whose script is here was said to lack it."""
    files = {"compose.yml": COMPOSE_OF_SCRIPTS, "fill.sh": "python -m shop.fill"}
    with pytest.raises(FleetError) as caught:
        repository(files, "compose", "compose.yml")
    assert "worker-of-more: `python -m shop.fill`: whether it starts Celery is not known" in str(caught.value)
    files["fill.sh"] = "gunicorn shop"
    assert "async: `/app/start.sh all`: the script /app/start.sh is not found here" in said(
        repository(files, "compose", "compose.yml"), Fate.LOST
    )


COMPOSE_OF_SCRIPTS = """
    services:
      mail: {command: celery -A shop worker}
      async: {command: /app/start.sh all}
      worker-of-more: {command: gosu shop ./fill.sh}
"""


def test_a_script_that_compares_its_argument_is_read_for_each_that_it_knows() -> None:
    """Only those of a `case` were known."""
    text = """
        if [ "$1" = web ]; then exec gunicorn shop
        elif [[ "$1" == mail ]]; then exec celery -A shop worker -Q mail
        elif [ "$1" = video ]; then exec celery -A shop worker -Q video; fi
    """
    assert list(pools(script(text))) == ["mail", "video"]
