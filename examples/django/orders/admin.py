"""Orders in the admin."""

from django.contrib import admin

from orders.models import Order


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders, the latest first."""

    list_display = ["id", "email", "total", "placed_at", "receipt_sent_at"]
    ordering = ["-id"]
