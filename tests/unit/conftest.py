"""What a unit test may not do: connect over the network. What needs a service stands in tests/services or tests/e2e."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

_running: list[str] = []


def _no_network(event: str, args: tuple[object, ...]) -> None:
    if event == "socket.connect" and _running and isinstance(args[1], tuple):
        pytest.fail(f"{_running[-1]} is a unit test, but connects to {args[1]}")


sys.addaudithook(_no_network)  # it stays for the life of the process, in which tests of other tiers may run too


@pytest.fixture(autouse=True)
def _in_a_unit_test(request: pytest.FixtureRequest) -> Iterator[None]:
    _running.append(request.node.nodeid)
    yield
    _running.pop()
