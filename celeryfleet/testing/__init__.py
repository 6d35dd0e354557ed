"""A pytest plugin: `fleet` and `fleet_factory`, real fleets on brokers of their own for the tests of a user's project.

It is imported by each pytest where celeryfleet is installed, so it imports nothing heavy and starts nothing by itself.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.testing.fleet import Fleet

__all__ = ["Fleet", "FleetFactory", "fleet", "fleet_factory"]

_STARTED = pytest.StashKey[float]()
_FACTORY = pytest.StashKey["FleetFactory"]()
#: lines of all logs together that a report shows at most
_SHOWN = 200


class FleetFactory:
    """Starts fleets; those that a test has not closed are closed when the session ends."""

    def __init__(self, request: pytest.FixtureRequest, temporary: pytest.TempPathFactory) -> None:
        self._request = request
        self._temporary = temporary
        #: those that run, the youngest last
        self.running: list[Fleet] = []
        #: the one that the apps of this process send to
        self._used: Fleet | None = None

    def __call__(self, source: str | Path | None = None, /, *, timeout: float = 30.0, **overrides: Any) -> Fleet:
        """Start a fleet, wait until it is ready, and give the app its settings until it is closed.

        `source` is the path of a fleet.yaml, or the text of one; without it, the one here or in a folder
        above. `overrides` are keys of fleet.yaml, laid over it as fleet.override.yaml would be; the one
        beside the file is not read. Raises `celeryfleet.errors.FleetError`.
        """
        from celeryfleet.testing.start import start

        started = start(source, overrides, self._temporary.mktemp("fleet"), timeout, self._django_databases)
        before = self._used
        started.using, started.on_close = self._using, lambda: self._closed(started, before)
        self.running.append(started)
        self.use(started)
        return started

    def _closed(self, fleet: Fleet, before: Fleet | None) -> None:
        self.running.remove(fleet)
        if self._used is fleet:
            self.use(before if before in self.running else None)

    @contextmanager
    def _using(self, fleet: Fleet) -> Iterator[None]:
        before = self._used
        self.use(fleet)
        try:
            yield
        finally:
            self.use(before)

    def use(self, chosen: Fleet | None) -> None:
        """Have the apps of this process send to one fleet; None: to where they sent before."""
        if self._used is chosen:
            return
        if self._used is not None:
            self._used.apps.release()
        if chosen is not None:
            chosen.apps.install()
        self._used = chosen

    def close(self) -> None:
        """Stop every fleet that runs."""
        for one in reversed(self.running.copy()):
            one.close()

    def _django_databases(self) -> None:
        """Have pytest-django make its test databases, if it is there, so that workers can be told of them."""
        try:
            self._request.getfixturevalue("django_db_setup")
        except pytest.FixtureLookupError:
            return


@pytest.fixture(scope="session")
def fleet_factory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetFactory]:
    """Start fleets by `fleet_factory(text or path, **overrides)`; `with` closes one before the session ends."""
    factory = FleetFactory(request, tmp_path_factory)
    request.config.stash[_FACTORY] = factory
    try:
        yield factory
    finally:
        factory.close()


@pytest.fixture(scope="session")
def fleet(fleet_factory: FleetFactory) -> Fleet:
    """Run the project's fleet.yaml on a broker of its own, once for all tests of this process."""
    try:
        return fleet_factory()
    except FleetError as error:
        reason = str(error)
    pytest.fail(reason, pytrace=False)


# --- Which fleet a test talks to, and what a report shows -------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give tests that ask for no fleet their app as it was, and all others the youngest fleet that runs."""
    item.stash[_STARTED] = time.time()
    factory = item.config.stash.get(_FACTORY, None)
    if factory is not None:
        asks = "fleet_factory" in getattr(item, "fixturenames", ())
        factory.use(factory.running[-1] if asks and factory.running else None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Give a test that names a fleet as an argument that one, whatever was started since."""
    named = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Fleet)]
    if named:
        item.config.stash[_FACTORY].use(named[-1])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of what failed the logs of the fleets, from the beginning of the test on."""
    report = yield
    factory = item.config.stash.get(_FACTORY, None)
    if report.failed and factory is not None and "fleet_factory" in getattr(item, "fixturenames", ()):
        for one in factory.running:
            shown = one.logs(since=item.stash.get(_STARTED, 0.0))[-_SHOWN:]
            report.sections.append((f"Logs of the fleet {one.name}", "\n".join(shown)))
    return report
