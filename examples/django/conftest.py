"""What pytest-django does where it is installed: sets Django up, and makes the test databases once a session."""

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "core.settings")
django.setup()


@pytest.fixture(scope="session")
def django_db_setup():
    """Make the test databases; the workers of the `fleet` fixture get their names."""
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases, teardown_test_environment

    setup_test_environment()
    made = setup_databases(verbosity=0, interactive=False)
    yield
    teardown_databases(made, verbosity=0)
    teardown_test_environment()
