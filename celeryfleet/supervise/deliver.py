"""Tells somebody of one alert: a process of its own, so that no slow network and no program keeps the supervisor.

It reads a Delivery from a socket, writes there in a line what has become of it, and ends with the supervisor.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit

from celeryfleet.protocol import Delivery
from celeryfleet.records import parse


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would be followed without the body."""

    def redirect_request(self, *_: Any) -> None:
        return None


def run(delivery: Delivery) -> tuple[bool, str]:
    """Run a program with the body as its input and in its environment; say whether that was right, and how it ended."""
    program, env = delivery.command[0], {**os.environ, "CELERYFLEET_ALERT": delivery.body}
    try:
        done = subprocess.run(
            delivery.command, input=delivery.body.encode(), env=env, timeout=delivery.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"{program} was killed after {delivery.timeout:g} s"
    except (OSError, ValueError) as error:
        return False, f"{program} can't be run: {getattr(error, 'strerror', None) or error}"
    return done.returncode == 0, f"{program} ended with exit code {done.returncode}"


def post(delivery: Delivery) -> tuple[bool, str]:
    """Send the body until it is taken, is refused for good, or was sent often enough; no text holds the URL."""
    opener = urllib.request.build_opener(_NoRedirect)
    headers = {"Content-Type": "application/json", "User-Agent": "celeryfleet", "Idempotency-Key": delivery.id}
    url = urlsplit(delivery.webhook)
    credentials, _, host = url.netloc.rpartition("@")
    if credentials:  # urllib would take them for a part of the host's name
        headers["Authorization"] = f"Basic {b64encode(unquote(credentials).encode()).decode()}"
    request = urllib.request.Request(url._replace(netloc=host).geturl(), delivery.body.encode(), headers)
    for pause in (*delivery.pauses, None):
        try:
            with opener.open(request, timeout=delivery.timeout) as answer:
                return True, f"the webhook answered {answer.status}"
        except urllib.error.HTTPError as error:
            error.close()
            text, again = f"the webhook answered {error.code}", error.code >= 500 or error.code in (408, 429)
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", "") or type(reason).__name__
            text, again = f"the webhook does not answer: {why}", True
        if not again or pause is None:
            break
        time.sleep(pause)
    return False, text


def main(descriptor: int) -> None:
    """Deliver what the supervisor says, and tell it the outcome."""
    channel = socket.socket(fileno=descriptor)
    with channel.makefile("rb") as lines:
        delivery: Delivery = parse(Delivery, lines.readline())
    told: list[bool] = []

    def deliver() -> None:
        done, text = run(delivery) if delivery.command else post(delivery)
        told.append(done)
        channel.sendall(f"{'told' if done else 'not told'}: {text}\n".encode())

    threading.Thread(target=deliver, daemon=True).start()
    channel.recv(1)  # the supervisor has the outcome, waits no longer, or has ended
    if told != [True]:
        os.killpg(0, signal.SIGKILL)  # with a program that runs, and what one has left that was killed


if __name__ == "__main__":
    main(int(sys.argv[1]))
