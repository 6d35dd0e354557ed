"""What runs inside a worker process. Knows Celery and the user's app; knows nothing of supervision."""
