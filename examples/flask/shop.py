"""A Flask application whose tasks run in a fleet; the Celery app is made as Flask's documentation shows it."""

from celery import Celery, Task, shared_task
from flask import Flask, current_app

import celeryfleet


def create_app():
    """Make the application, with its Celery app in `extensions`."""
    app = Flask(__name__)
    app.config["GREETING"] = "Dear"
    app.extensions["celery"] = celery_for(app)

    @app.post("/orders/<int:number>")
    def order(number):
        return {"task": receipt.delay(number).id}, 202

    @app.get("/tasks/<task>")
    def task(task):
        result = app.extensions["celery"].AsyncResult(task)
        return {"state": result.state, "result": result.result if result.successful() else None}

    return app


def celery_for(app):
    """Make a Celery app whose tasks run in the application's context."""

    class ContextTask(Task):
        def __call__(self, *args, **kwargs):
            with app.app_context():
                return self.run(*args, **kwargs)

    celery = Celery("shop", task_cls=ContextTask)
    celeryfleet.install(celery)  # the broker, queues and routes of fleet.yaml
    celery.set_default()
    return celery


@shared_task
def receipt(number):
    """Write to a customer."""
    return f"{current_app.config['GREETING']} customer, order {number} is on its way."
