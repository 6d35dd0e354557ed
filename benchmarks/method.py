"""How it is measured, in the words that RESULTS.md prints."""

METHOD = """\
- Every peer runs the same app (`benchmarks/shop.py`), one queue and one prefork child a worker, on one Valkey with the
  flags of celeryfleet's embedded broker. It is emptied before each start, and only one peer runs at a time.
- The peers take turns, round after round; a figure is the median of all rounds.
- "lean" stands for `--without-mingle --without-gossip --without-heartbeat`; without it a peer's workers have Celery's
  own defaults. The supervisors run with their own defaults.
- Ready is the same for all: every worker answers ping, one broadcast that is sent as soon as all listen for broadcasts
  (the broker is asked every 5 ms). The start command of celeryfleet and of `celery multi` has to be back, too.
- The embedded broker is started within the time of "celeryfleet, embedded broker"; all others find one running.
- Memory is PSS of all processes that work in the peer's folder, supervisors included, 4 s after the last is ready; CPU
  is the scheduler's own account of a minute without work (12 s with `--quick`, which is too short for exact figures:
  a lean supervisor works in bursts that are seconds apart).
- The supervisor of celeryfleet is given with and without its fork server, which holds the preloaded app.
- The commands run in turn about one fleet of celeryfleet's, so that Celery's own ask the very same workers.
- A kill goes to a worker's main process, and to each worker once at most. honcho stops everything when one ends;
  `celery multi` and plain workers replace nothing.
- The no-op tasks are put into the queues at once, as copies of one message that Celery wrote, so that the workers set
  the pace. The clock stops when the last one is acknowledged. The plain workers get their settings from
  `celeryfleet config --format python`, and log as much. On RabbitMQ the tasks are there before the workers start, and
  the clock runs from a fifth of their results, in Redis, to the last.
- Tasks are sent with no worker running, by a plain Celery app with Celery's defaults: 20,000 in bulk (10,000 with
  `--quick`), a tenth as many one by one. On RabbitMQ each message is confirmed, one by one in the loop, by the batch
  in bulk. "A receiver of another's" listens to `before_task_publish`, as tracers do."""
