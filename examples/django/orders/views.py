"""An API without cookies: it takes orders, and leaves what takes time to the fleet."""

import json
from decimal import Decimal

from django import forms
from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from django_celery_results.models import TaskResult

from orders import tasks
from orders.models import Order

LARGE = Decimal(1000)


class OrderForm(forms.ModelForm):
    """What a customer sends."""

    class Meta:
        """Of an order, what the customer decides."""

        model = Order
        fields = ["email", "total"]


@csrf_exempt
@require_POST
@transaction.atomic
def place(request):
    """Take an order; the receipt is sent when it is really in the database."""
    form = OrderForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    order = form.save()
    tasks.send_receipt.delay_on_commit(order.pk)
    if order.total >= LARGE:
        tasks.tell_staff.delay_on_commit(order.pk)
    return JsonResponse({"order": order.pk}, status=201)


@require_GET
def show(request, pk):
    """Show an order."""
    order = get_object_or_404(Order, pk=pk)
    found = {"order": pk, "email": order.email, "total": str(order.total), "invoice": order.invoice}
    return JsonResponse({**found, "receipt_sent_at": order.receipt_sent_at})


@csrf_exempt
@require_POST
def invoice(request, pk):
    """Have an order's invoice written; /tasks/ID/ tells how far that is."""
    order = get_object_or_404(Order, pk=pk)
    result = tasks.render_invoice.delay(order.pk)
    return JsonResponse({"task": result.id}, status=202)


@require_GET
def task(request, task_id):
    """Show the row of a task: which worker ran it, from which queue, and what came of it."""
    row = get_object_or_404(TaskResult, task_id=task_id)
    found = {"task": row.task_id, "name": row.task_name, "state": row.status, "worker": row.worker}
    return JsonResponse({**found, "queue": json.loads(row.meta).get("queue"), "result": json.loads(row.result)})
