"""What the shop keeps."""

from django.db import models


class Order(models.Model):
    """What a customer has bought."""

    email = models.EmailField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    placed_at = models.DateTimeField(auto_now_add=True)
    #: written by the task render_invoice
    invoice = models.TextField(blank=True)
    #: set by the task send_receipt
    receipt_sent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self):
        return f"order {self.pk} of {self.email}"
