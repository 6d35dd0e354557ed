from __future__ import annotations

from celeryfleet.cli.stack import within_tasks

HEAD = "Current thread 0x00007f (most recent call first):"
OTHER = "Thread 0x00007e (most recent call first):"
SLEEPS = '  File "/srv/shop/tasks.py", line 9 in send'
CALLS = '  File "/lib/celery/app/trace.py", line 453 in trace_task'
BELOW = '  File "/lib/billiard/pool.py", line 369 in workloop'


def test_a_stack_is_cut_to_what_the_task_has_called() -> None:
    assert within_tasks([OTHER, BELOW, HEAD, SLEEPS, CALLS, CALLS, BELOW]) == [HEAD, SLEEPS]


def test_where_no_thread_runs_a_task_all_of_it_is_told() -> None:
    assert within_tasks([OTHER, BELOW, HEAD, SLEEPS]) == [OTHER, BELOW, HEAD, SLEEPS]
