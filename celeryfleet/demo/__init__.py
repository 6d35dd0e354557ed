"""The lessons' project: tasks that log and call libs that do the work; the app of a fleet.yaml that names none."""
