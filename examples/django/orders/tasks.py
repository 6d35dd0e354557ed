"""The shop's work in the background. Which queue each task goes to is said in fleet.yaml."""

from datetime import timedelta
from decimal import Decimal

from celery import shared_task
from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.db.models import Sum
from django.utils import timezone

from orders.models import Order

User = get_user_model()  # Django is set up before tasks are imported: models may be used here


@shared_task(autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def send_receipt(order_id):
    """Send a customer the receipt, once."""
    order = Order.objects.get(pk=order_id)
    if order.receipt_sent_at is None:  # a task whose worker was killed runs again
        send_mail(f"Your order {order.pk}", f"Thank you! You paid {order.total}.", None, [order.email])
        Order.objects.filter(pk=order_id).update(receipt_sent_at=timezone.now())
    return order.email


@shared_task
def render_invoice(order_id):
    """Write an order's invoice."""
    order = Order.objects.get(pk=order_id)
    net = (order.total / Decimal("1.2")).quantize(Decimal("0.01"))
    lines = [f"Invoice {order.pk:06d}", f"To {order.email}", f"Net   {net:>10}", f"VAT   {order.total - net:>10}"]
    order.invoice = "\n".join([*lines, f"Total {order.total:>10}"])
    order.save(update_fields=["invoice"])
    return lines[0]


@shared_task
def tell_staff(order_id):
    """Tell all of the staff about an order."""
    staff = list(User.objects.filter(is_staff=True).exclude(email="").values_list("email", flat=True))
    if staff:
        send_mail(f"A large order: {order_id}", f"/admin/orders/order/{order_id}/", None, staff)
    return staff


@shared_task
def revenue(days_ago):
    """Add up what was sold on one day, as text: JSON has no decimals."""
    day = timezone.now().date() - timedelta(days=days_ago)
    sold = Order.objects.filter(placed_at__date=day).aggregate(sum=Sum("total"))["sum"]
    return str(sold or Decimal(0))


@shared_task
def add_up(figures):
    """Add figures up."""
    return str(sum(map(Decimal, figures)))
