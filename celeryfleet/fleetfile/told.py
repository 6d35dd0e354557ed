"""What an app says by itself, in the words of fleet.yaml: what the process that asks it hands over."""

from celeryfleet.records import Record


class Told(Record):
    """An app's own settings; what is empty it does not say."""

    #: URLs that may be written down: with `${VAR}` where a variable held them, without any credential
    broker: str = ""
    #: whether the app names its broker, though it may hold a credential; else it is Celery's default
    names_broker: bool = True
    results: str = ""
    default_queue: str = ""
    #: those that a worker without -Q reads, as queues of fleet.yaml
    queues: dict[str, object] = {}
    #: as routes of fleet.yaml
    routes: tuple[dict[str, object], ...] = ()
    #: names of the entries of its beat_schedule
    beat: tuple[str, ...] = ()
    pool: str = ""
    concurrency: int = 0
    #: settings that a fleet would replace by its own, unless its `celery:` says them
    celery: dict[str, object] = {}
    #: what of it cannot be written
    lost: tuple[str, ...] = ()
