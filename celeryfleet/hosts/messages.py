"""What hosts leave in the broker, and what they may ask each other: nothing stops the fleet or runs other code."""

from celeryfleet.protocol import Done, Mark, Pause, Refused, Restart, Revoke, Scale, Status
from celeryfleet.records import Record

#: seconds between two reports, without one after which a host is silent, and for which the latest is kept
EVERY, SILENT, KEPT = 3, 10, 3600
#: seconds for which it is kept what is paused
PAUSED = 30 * 86400
#: bytes of a request and of an answer or report, at most
ASKED, TOLD = 64 * 1024, 16 * 1024 * 1024
#: tasks in an answer at most, and of those that have ended
MOST, ENDED = 1000, 20_000


class Report(Record):
    """How a fleet is on one host, as its supervisor leaves it in the broker."""

    #: whose it is: a supervisor's and its successors' in one folder
    owner: str
    #: the machine's own name and the folder
    place: str
    #: unix seconds, by that machine's clock
    at: float
    #: without what is needed to connect to the broker
    status: Status
    #: what it knows of queues that are paused on all hosts
    marks: tuple[Mark, ...] = ()


class HostStatus(Record):
    """A host as it is shown."""

    hidden = ("place", "status")
    name: str
    #: reporting, silent or missing; unknown where the broker does not answer
    state: str
    #: seconds since its latest report; None: there is none
    age_s: float | None = None
    #: whether it is this one
    here: bool = False
    place: str = ""
    #: None: nothing is known
    status: Status | None = None


def state_of(host: HostStatus) -> str:
    """Say how the fleet is on a host, as far as that is known: ready, degraded, …, or silent, missing, unknown."""
    return host.status.state if host.status is not None and host.state == "reporting" else host.state


class GetReport(Record):
    """Reply with a Report; exact: the workers are asked how they are."""

    exact: bool = False


class FindTasks(Record):
    """Reply with what the ledger Knows of tasks: of an id, or how one begins; or in this state, and since then."""

    id: str = ""
    #: running, failed, or ended: all that have, in few words, beside what is held
    state: str = ""
    #: unix seconds; of failed and ended ones
    since: float = 0.0
    #: a name or a glob
    task: str = "*"


class Known(Record):
    """Tasks, each as the fields of a ledger's Entry up to its error."""

    tasks: tuple[tuple[object, ...], ...]
    #: those that run, whatever was asked for
    running: tuple[tuple[object, ...], ...] = ()
    #: of those that have ended the task, the queue, when it came (unix ms) and the seconds that it ran, latest first
    ended: tuple[tuple[object, ...], ...] = ()


class Retry(Record):
    """Send tasks of the ledger again, as `retry` does; what becomes of each is in the ledger, and in the log."""

    ids: tuple[str, ...]
    again: bool = False


#: what another host may ask
Remote = GetReport | FindTasks | Scale | Restart | Pause | Revoke | Retry
#: what is answered
Answer = Report | Known | Done | Refused


class HostTrouble(Record):
    """Say in the log that hosts do not see each other as they should."""

    text: str
    #: also in `status`, until another one is said
    note: bool = False
