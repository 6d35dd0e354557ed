"""Airflow imports this in each of its processes, before its executor, whose provider wants what Celery 5.7 lacks."""

from celery.backends import database

if not hasattr(database, "retry"):  # seen with the provider 3.26; it decorates one query of `db+` results
    database.retry = lambda function: function
