"""The web page of a running fleet, and its metrics beside it: a process that asks, and never decides."""
