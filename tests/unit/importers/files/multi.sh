#!/bin/bash
# Starts and stops the workers; don't run it twice.
set -e
APP=proj
LOGS=/var/log/celery

case "$1" in
  start)
    mkdir -p $LOGS
    celery multi start 10 -A $APP -l INFO \
        -Q:1-3 images,video -Q:4,5 data -Q default \
        -L:4,5 DEBUG -c:1-3 4 \
        --pidfile=/run/celery/%n.pid --logfile="$LOGS/%n%I.log"
    ;;
  stop)
    celery multi stopwait 10 --pidfile=/run/celery/%n.pid   # it's all
    ;;
esac
