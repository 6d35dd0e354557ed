"""A Plan under load, as a discrete-event simulation: how long tasks wait and how many workers it takes."""
