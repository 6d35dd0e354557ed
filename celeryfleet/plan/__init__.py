"""What should run, derived from what was declared. Pure: no clock, no processes, no celery."""
