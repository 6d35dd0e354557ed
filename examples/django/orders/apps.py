"""The app of the orders."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders, and the work that they give."""

    name = "orders"
