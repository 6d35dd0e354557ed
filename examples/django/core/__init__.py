# Django imports this package before anything else, so `@shared_task` and `.delay()` use this app everywhere.
from .celery import app as celery_app

__all__ = ["celery_app"]
