"""The URLs of the orders and of the work they give."""

from django.urls import path

from orders import views

urlpatterns = [
    path("orders/", views.place),
    path("orders/<int:pk>/", views.show),
    path("orders/<int:pk>/invoice/", views.invoice),
    path("tasks/<str:task_id>/", views.task),
]
