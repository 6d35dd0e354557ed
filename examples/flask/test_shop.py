"""A request, a task and its result, through Flask's test client and a fleet."""

from shop import create_app


def test_an_order_sends_a_receipt(fleet):
    client = create_app().test_client()
    task = client.post("/orders/42").json["task"]
    fleet.wait_empty()
    assert client.get(f"/tasks/{task}").json == {
        "state": "SUCCESS",
        "result": "Dear customer, order 42 is on its way.",
    }
    assert fleet.worker("mail-1").processed == 1
