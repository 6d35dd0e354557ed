#!/usr/bin/env bash
set -o errexit

export DJANGO_SETTINGS_MODULE=config.settings
QUEUES="high,low"
CMD="python -m celery -A config.celery_app worker -l INFO -Q $QUEUES"

python manage.py migrate --noinput
if [ -n "${NO_RELOAD}" ]; then
  exec $CMD -c "${CONCURRENCY:-2}"   # it's what production runs
else
  watchmedo auto-restart --directory=./ --pattern='*.py' -- $CMD
fi
