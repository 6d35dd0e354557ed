"""Measures celeryfleet side by side with its peers; run it with `python -m benchmarks`."""
