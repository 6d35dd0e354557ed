"""Whatever a file holds, a fleet.yaml is made of it or it is refused; never a broken one, never a traceback."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celeryfleet.errors import Exit, FleetError
from celeryfleet.importers.document import Ask
from celeryfleet.importers.formats import convert

pytestmark = pytest.mark.slow

VALUES = (
    *("a", "a,b", "'a , b'", "0", "3", "-1", "1e9", "${V}", "${V:-4}", "$V", "${V:-", "$(nproc)", "%h", "w1@%h", "é"),
    *("a:b", "${A:-${B}}", "10,3", "''", '"', "solo", "gevent", "&&", "true", "null", "unacked", "x" * 250, "#"),
    *("{}", "[a", "*", "redis://:pw@h/0", "%(ENV_X)s", "%(process_num)02d", "nan", "inf", "$$X", "\\\\", "&env"),
)
OPTIONS = (
    *("-A", "-Q", "-c", "-P", "-n", "-E", "-B", "-O", "-l", "-X", "--autoscale", "--time-limit", "--soft-time-limit"),
    *("-b", "--max-tasks-per-child", "--max-memory-per-child", "--prefetch-multiplier", "--config", "--", "-Q:1-2"),
    *("-c:1", "--result-backend", "--frob", "-z", "--pool"),
)
WORDS = st.lists(st.sampled_from(OPTIONS + VALUES), max_size=8).map(" ".join)
STARTS = (
    *("celery -A shop worker", "celery worker", "sh -c 'celery -A shop worker'", "celery multi start 3"),
    "case $V in a) celery -A shop worker;; esac;",
)
FORMS = {
    "procfile": "w: {0} {1}\nX={2} {0} {2}\n",
    "multi": "V={2}\n{0} {1}\nexport W={2}\nCELERYD_OPTS='{1}'\n",
    "supervisord": "[program:a]\ncommand={0} {1}\nnumprocs={2}\nstopwaitsecs={2}\nenvironment=A={2}\n",
    "systemd": "[Service]\nEnvironment=V={2}\nExecStart={0} {1}\nTimeoutStopSec={2}\n",
    "k8s": (
        "kind: Deployment\nmetadata: {{name: a}}\nspec:\n  replicas: {2}\n  template:\n    spec:\n"
        "      terminationGracePeriodSeconds: {2}\n      containers:\n"
        "      - args: [sh, -c, '{0} {1}']\n        env: [{{name: V, value: {2}}}]\n"
    ),
    "compose": (
        "services:\n  a:\n    command: {0} {1}\n    scale: {2}\n    stop_grace_period: {2}\n"
        "    environment: [A={2}]\n    env_file: {2}\n    profiles: [{2}]\n"
    ),
}


def fault(kind: str, text: str) -> str:
    """Return what celeryfleet itself did wrong."""
    try:
        convert(text, Ask(kind, "FILE", "shop"))
    except FleetError as error:
        return "" if error.code is Exit.USAGE else f"{text}\n{error}"
    return ""


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(STARTS), WORDS, st.sampled_from(VALUES))
def test_odd_options_break_nothing(kind: str, start: str, words: str, value: str) -> None:
    assert not fault(kind, FORMS[kind].format(start, words, value))


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=200))
@example("procfile", "\ue0007\ue000")  # it stands for a variable while the words are taken apart
@example("procfile", "'sh -c ${A:-celery x}'")  # a script that is nothing but itself
@example("procfile", "a \x0c b \u2028 c")  # spaces to Python, letters to a shell
@example("procfile", "a" + "||a" * 1000)
@example("multi", "a()" * 1000)
@example("multi", "echo " + "${A:-" * 1000 + "}" * 1000)
def test_any_text_at_all_breaks_nothing(kind: str, text: str) -> None:
    assert not fault(kind, text)
    assert not fault(kind, f"w: celery -A shop worker {text}")
    assert not fault(kind, f"w: 'X={text}' celery -A shop worker -Q '{text}'")
