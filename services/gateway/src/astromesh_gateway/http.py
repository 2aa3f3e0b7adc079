"""The HTTP application: its routes, its errors, and what is measured of each request. Serving it stands in `server`."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astromesh_core.errors import AstromeshError
from astromesh_core.telemetry.metrics import Metrics
from astromesh_gateway import failures
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.endpoint import McpEndpoint
from astromesh_gateway.openapi import finish
from astromesh_gateway.routes import (
    agents,
    approvals,
    audit,
    costs,
    guardrails,
    health,
    looking_back,
    openai,
    rag,
    related,
    resources,
    running,
    runs,
    sessions,
    tools,
    websocket,
)

_ABOUT = """Ask agents, follow their runs, and look into them.

Errors are problem documents (RFC 9457). Keys go into `Authorization: Bearer …` or `X-API-Key`; where none is
configured, only this machine is served. A call acts in its key's namespace; an admin may name another in
`X-Astromesh-Namespace`."""

_ROUTES = (
    running,
    runs,
    looking_back,
    approvals,
    costs,
    audit,
    openai,
    agents,
    resources,
    sessions,
    related,
    tools,
    guardrails,
    rag,
    health,
    websocket,
)
_RUN_PREFIX, _RUN_SUFFIX = "/v1/agents/", "/run"


def build_app(gateway: Gateway, *, serve_metrics: bool = True) -> FastAPI:
    """The application on these parts."""
    app = Application(
        title="Astromesh",
        version="1",
        description=_ABOUT,
        openapi_url="/openapi.json",
        # Spans and metrics are core.telemetry's; FastAPI's own would cost every request.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.gateway = gateway
    for module in _ROUTES:
        app.include_router(module.router)
    app.router.routes.extend(McpEndpoint(gateway).routes())
    if serve_metrics:
        app.include_router(health.metrics_router)
    failures.install(app)
    # The last one added is the outermost.
    app.add_middleware(Express, route=next(route for route in running.router.routes if _is_run(route)))
    app.add_middleware(Measured, metrics=gateway.telemetry.metrics)
    return app


class Application(FastAPI):
    """FastAPI, whose document knows the types that routes read by hand too."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if not self.openapi_schema:
            self.openapi_schema = finish(super().openapi())
        return self.openapi_schema


def _is_run(route: BaseRoute) -> bool:
    return isinstance(route, Route) and route.path == f"{_RUN_PREFIX}{{name}}{_RUN_SUFFIX}"


class Express:
    """Brings runs straight to their route: finding it among all, and FastAPI's way to it, cost more than admission."""

    def __init__(self, app: ASGIApp, route: BaseRoute) -> None:
        self._app = app
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application around the application."""
        name = _run_of(scope)
        if not name:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = self._route, {"name": name}
        try:
            response = await running.run_agent(Request(scope, receive, send))
        except ClientDisconnect:
            return
        except AstromeshError as error:
            response = failures.problem_response(error, scope["path"])
        await response(scope, receive, send)


def _run_of(scope: Scope) -> str:
    """The agent's name where a run is asked for; "" for any other request."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    path: str = scope["path"]
    if not path.startswith(_RUN_PREFIX) or not path.endswith(_RUN_SUFFIX):
        return ""
    name = path[len(_RUN_PREFIX) : -len(_RUN_SUFFIX)]
    return "" if "/" in name else name


class Measured:
    """Counts requests by route and status, and measures the time until the head of the reply."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._meters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application around the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()

        async def measure(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A path that no route has counts as one, so that nobody can make labels.
                route = getattr(scope.get("route"), "path", "none")
                requests, seconds = self._meter(scope["method"], route, message["status"])
                requests.inc()
                seconds.observe(perf_counter() - start)
            await send(message)

        await self._app(scope, receive, measure)

    def _meter(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        key = (method, route, status)
        meter = self._meters.get(key)
        if meter is None:
            counter = self._metrics.http_requests.labels(method, route, str(status))
            meter = self._meters[key] = (counter, self._metrics.http_seconds.labels(route))
        return meter
