"""A request, a task and its result, through FastAPI's test client and a fleet."""

from fastapi.testclient import TestClient
from shop import api


def test_an_order_sends_a_receipt(fleet):
    client = TestClient(api)
    task = client.post("/orders/42").json()["task"]
    fleet.wait_empty()
    assert client.get(f"/tasks/{task}").json() == {"state": "SUCCESS", "result": "order 42 is on its way"}
    assert fleet.worker("mail-1").processed == 1
