"""What happens to tasks, through the real routes, queues and pools: `pytest` starts a fleet of its own."""

from shop import receipt, report


def test_a_receipt_does_not_wait_behind_reports(fleet):
    for month in range(40):  # 20 seconds of work
        report.delay(month)
    assert receipt.delay(42).get(timeout=20) == "receipt of order 42"
    assert fleet.purge() > 0, "no report was waiting any more"
