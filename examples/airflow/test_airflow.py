"""A workload goes to the pool that reads its queue; what it needs beside, the API server, is not there in this test."""

import pytest


def test_a_workload_reaches_the_pool_of_its_queue(fleet):
    workload = fleet.app.tasks["execute_workload"].apply_async(("not a workload",), queue="gpu")
    with pytest.raises(Exception, match="ValidationError"):
        workload.get(timeout=60)
    assert fleet.worker("gpu-1").processed == 1
