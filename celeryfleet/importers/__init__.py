"""What a team has today (compose, Procfile, supervisord, `celery multi`) → fleet.yaml. Pure, without Celery."""
