"""Breaks a fleet again and again while tasks run, and counts what became of them; run it with `python -m chaos`."""
