"""An order through a view, and its receipt through the fleet, in the test database."""

from django.conf import settings
from django.test import Client
from orders.models import Order


def test_an_order_gets_its_receipt(fleet):
    assert str(settings.DATABASES["default"]["NAME"]).endswith("test.sqlite3")
    answer = Client().post("/orders/", {"email": "ada@example.com", "total": "42"})
    assert answer.status_code == 201
    fleet.wait_empty()
    assert Order.objects.get(pk=answer.json()["order"]).receipt_sent_at
    assert fleet.worker("mail-1").processed == 1
