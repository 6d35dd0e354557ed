"""Runs Celery's own integration tests through a fleet and a plain worker, and compares; `python -m conformance`."""
