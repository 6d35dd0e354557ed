"""What `alerts:` of a fleet.yaml may not say."""

from __future__ import annotations

import pytest

from celeryfleet.errors import FleetError
from celeryfleet.fleetfile.load import parse

FLEET = "queues: {default: , mail: }\npools: {web: {queues: [default]}}\nalerts:\n- {"
KINDS = "oldest_age, backlog_growing, worker_failed, worker_stuck, failure_rate or no_beat"
OVERS = "a duration, such as 30s, a number of messages, such as 100 or a share below 100%, such as 10%"
TOLD = 'Give it webhook: "${HOOK}" or command: [./alert]; a second alert may have the other.'
URL = 'is no URL of a webhook. Write webhook: "${HOOK}", whose value begins with https://'

LINES = {
    "when: worker_fail, command: [a]": f"4:10: when of alert 1 must be {KINDS}, but it is worker_fail. "
    'Did you mean "worker_failed"?',
    "wen: no_beat, when: worker_failed, for: 1, command: [a]": '4:4: alert 1 has no key "wen". Did you mean "when"? '
    "4:44: for of alert 1 is 1, which has no unit. Write ms, s, m, h, d or w after the number, as in 30s or 1h30m.",
    "when: worker_failed, command: ./alert shop": "4:34: command of alert 1 must be a list, but it is ./alert shop. "
    "Write command: [./alert, shop]",
    "when: worker_failed": f"4:3: alert 1 tells nobody. {TOLD}",
    "when: worker_failed, command: [a], webhook: 'http://h'": f"4:3: alert 1 tells two: command and webhook. {TOLD}",
    "when: worker_failed, webhook: 'ftp://secret'": f"4:34: webhook of alert 1 {URL}",
    "when: worker_failed, webhook: '${HOOK}'": "4:34: webhook of alert 1 needs the variable HOOK, which is not set. "
    "Set it in the environment or in an env_file, or write ${HOOK:-default}.",
    "when: worker_failed, command: [a], format: slack": "4:47: format of alert 1 goes with a webhook.",
    "when: worker_failed, pool: wbe, command: [a]": '4:31: alert 1 is about the unknown pool "wbe". '
    'Did you mean "web"?',
    "when: worker_failed, queue: mail, command: [a]": "4:32: queue of alert 1 does not go with when: worker_failed. "
    "It goes with oldest_age and backlog_growing.",
    "when: worker_failed, over: 3, command: [a]": "4:31: over of alert 1 does not go with when: worker_failed.",
    "when: oldest_age, queue: maill, over: 1s, command: [a]": '4:29: alert 1 is about the unknown queue "maill". '
    'Did you mean "mail"? Queues are declared at line 1.',
    "when: oldest_age, over: 30, command: [a]": "4:28: over of alert 1 must be a duration, such as 30s.",
    "when: oldest_age, command: [a]": "4:3: alert 1 does not say from which age on. "
    "Write over: 30s, or give the queue max_age.",
    "when: failure_rate, command: [a]": "4:3: alert 1 does not say from which share on. Write over: 10%",
    "when: failure_rate, over: 100%, command: [a]": f"4:30: over of alert 1 must be {OVERS}, but it is 100%.",
    "when: failure_rate, over: 1%, for: 0s, command: [a]": "4:39: for of alert 1 must be more than nothing: "
    "it is the time over which it is measured.",
    "when: no_beat, command: [a]": "4:3: alert 1 is about a beat that the fleet does not have. Write beat: true",
}


@pytest.mark.parametrize(("line", "said"), LINES.items())
def test_what_an_alert_may_not_say_is_refused_with_its_place(line: str, said: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse(f"{FLEET}{line}}}\n", "fleet.yaml", {})
    assert " ".join(str(caught.value).replace("fleet.yaml:", "").split()) == said
