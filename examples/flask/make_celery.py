"""What `app:` in fleet.yaml names: the Celery app of the Flask application."""

from shop import create_app

celery = create_app().extensions["celery"]
