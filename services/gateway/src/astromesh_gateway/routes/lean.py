"""Routes on the hot path: FastAPI documents them, and calls them with the request alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute


class LeanRoute(APIRoute):
    """Calls its endpoint directly: solving dependencies and parsing a body cost more than the rest of the route."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What Starlette calls."""
        return cast("Callable[[Request], Coroutine[Any, Any, Response]]", self.endpoint)
