"""Routers of a user's, in each form that there is, which answer what a test has put in."""

from __future__ import annotations

from typing import Any

#: the first letter of a task's name → what the routers return
ANSWERS: dict[str, Any] = {}


class Router:
    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return ANSWERS.get(task[:1])


class CallableRouter:
    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return ANSWERS.get(name[:1])


def function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
    return ANSWERS.get(name[:1])


instance = Router()
