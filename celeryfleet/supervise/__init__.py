"""Making it so: processes, signals, sockets and files. Never imports Celery or the user's app."""
