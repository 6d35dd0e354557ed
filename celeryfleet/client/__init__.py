"""Talking to the fleet through its broker: tasks, canvases, results; takes a loaded app, knows no screen."""
