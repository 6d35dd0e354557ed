"""A webhook that really listens, and answers as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: an answer that does not come
NEVER = 0


class Hook:
    """A server that gives these answers, one after the other, and then 204."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, str, bytes]] = []
        #: of the latest request
        self.authorization: str | None = None
        #: of each request, the header Idempotency-Key
        self.ids: list[str | None] = []
        self.over = threading.Event()

    @contextmanager
    def served(self) -> Iterator[str]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, self.headers["Content-Type"], body))
                hook.authorization = self.headers["Authorization"]
                hook.ids.append(self.headers["Idempotency-Key"])
                code = hook.answers.pop(0) if hook.answers else 204
                if code == NEVER:
                    hook.over.wait(20)
                    return
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,)).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/secret"
            finally:
                self.over.set()
                server.shutdown()
