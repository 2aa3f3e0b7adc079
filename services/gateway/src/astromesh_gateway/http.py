"""The HTTP application: its routes, its errors, and what is measured of each request. Serving it stands in `server`."""

from __future__ import annotations

from time import perf_counter

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from astromesh_core.telemetry.metrics import Metrics
from astromesh_gateway import failures
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.routes import agents, health, openai, rag, running, runs, sessions, tools, websocket

_ABOUT = """Ask agents, follow their runs, and look into them.

Errors are problem documents (RFC 9457). Keys go into `Authorization: Bearer …` or `X-API-Key`; where none is
configured, only this machine is served. A call acts in its key's namespace; an admin may name another in
`X-Astromesh-Namespace`."""


def build_app(gateway: Gateway) -> FastAPI:
    """The application on these parts."""
    app = FastAPI(title="Astromesh", version="1", description=_ABOUT, openapi_url="/openapi.json")
    app.state.gateway = gateway
    for module in (running, runs, openai, agents, sessions, tools, rag, health, websocket):
        app.include_router(module.router)
    failures.install(app)
    app.add_middleware(Measured, metrics=gateway.telemetry.metrics)
    return app


class Measured:
    """Counts requests by route and status, and measures the time until the head of the reply."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

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
                self._metrics.http_requests.labels(scope["method"], route, str(message["status"])).inc()
                self._metrics.http_seconds.labels(route).observe(perf_counter() - start)
            await send(message)

        await self._app(scope, receive, measure)
