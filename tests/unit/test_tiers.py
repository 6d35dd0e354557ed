"""The guard of this tier: what it forbids, it forbids."""

from __future__ import annotations

import socket

import pytest


def test_a_unit_test_that_connects_to_a_service_fails() -> None:
    said = r"is a unit test, but connects to \('127\.0\.0\.1', 6379\)"
    with socket.socket() as connection, pytest.raises(pytest.fail.Exception, match=said):
        connection.connect(("127.0.0.1", 6379))
