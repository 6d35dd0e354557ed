"""JSON logs where Celery, loguru and print all write."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.unit.worker.test_jsonlog import KEYS


def test_celery_loguru_and_print_all_write_json(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from celeryfleet.logs import write
        from celeryfleet.worker import jsonlog
        write.install(Path(sys.argv[1]), 100_000, 3)
        os.environ["CELERYFLEET_WORKER"] = "web-1"
        import loguru
        from celery import Celery
        from celery.utils.log import get_task_logger
        app = Celery("shop")

        @app.task(name="shop.add", bind=True)
        def add(self):
            get_task_logger("shop").info("from the task")
            loguru.logger.warning("from loguru")

        jsonlog.log_as_json()
        app.log.setup(loglevel="INFO", redirect_stdouts=True)
        import logging
        logging.getLogger("other").info("from logging")
        print("from print")
        add.apply(task_id="42")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = [json.loads(line) for line in (tmp_path / "a.log").read_text().splitlines()]
    assert all(list(entry) == KEYS and entry["worker"] == "web-1" for entry in found)
    tasks = {entry["message"]: (entry["level"], entry["task_id"], entry["task"]) for entry in found}
    assert tasks["from logging"] == ("INFO", None, None)
    assert tasks["from print"] == ("WARNING", None, None)
    assert tasks["from the task"] == ("INFO", "42", "shop.add")
    assert tasks["from loguru"] == ("WARNING", "42", "shop.add")


def test_handlers_of_the_users_own_are_left_alone(tmp_path: Path) -> None:
    code = """
        import io, logging, sys
        from pathlib import Path
        from celeryfleet.logs import write
        from celeryfleet.worker import jsonlog
        write.install(Path(sys.argv[1]), 100_000, 3)
        import loguru
        own = io.StringIO()
        loguru.logger.remove()
        loguru.logger.add(own, format="own: {message}")
        handler = logging.StreamHandler(own)
        from celery import Celery
        app = Celery("shop", set_as_current=True)
        app.conf.worker_hijack_root_logger = False
        logging.getLogger().addHandler(handler)
        jsonlog.log_as_json()
        app.log.setup(loglevel="INFO")
        loguru.logger.info("from loguru")
        logging.getLogger().warning("from logging")
        assert own.getvalue() == "own: from loguru\\nfrom logging\\n", own.getvalue()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
