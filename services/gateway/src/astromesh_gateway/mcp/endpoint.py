"""The paths of MCP: who may come in, and the SDK, imported when the first client does. The rest: `transports`."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from astromesh_core.errors import NotFound, NotSupported
from astromesh_core.resources.extras import MCP
from astromesh_core.rpc.identity import Caller
from astromesh_core.telemetry.traceparent import current_traceparent
from astromesh_gateway.access import enter
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.mcp.asker import Asker
from astromesh_gateway.mcp.paths import EVENTS, MESSAGES, STREAMABLE

if TYPE_CHECKING:
    from astromesh_gateway.mcp.transports import Transports

_TRANSPORTS: Final = "astromesh_gateway.mcp.transports"

Way = Literal["streamable", "events", "messages"]

_WAYS: Final[tuple[tuple[str, Way, list[str]], ...]] = (
    (STREAMABLE, "streamable", ["DELETE", "GET", "POST"]),
    (EVENTS, "events", ["GET"]),
    (MESSAGES, "messages", ["POST"]),
)


class McpEndpoint:
    """MCP at one gateway. Costs nothing before the first client comes; ends with the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._opening = asyncio.Lock()
        self._transports: Transports | None = None

    def routes(self) -> list[Route]:
        """The paths, to be added to the application."""
        return [_route(self, path, way, methods) for path, way, methods in _WAYS]

    async def serve(self, way: Way, request: Request, send: Send) -> None:
        """Serves a request. Raises Unauthenticated, Denied, NotFound where MCP is switched off, NotSupported where its
        extra is missing."""
        caller = enter(request, "viewer")
        self._check(request, caller)
        asker = Asker(
            caller=caller,
            traceparent=current_traceparent(),
            idempotency_key=request.headers.get("idempotency-key", ""),
            cancel_on_disconnect=request.query_params.get("cancel_on_disconnect") == "true",
        )
        transports = await self._opened()
        await getattr(transports, way)(request, asker, send)

    def _check(self, request: Request, caller: Caller) -> None:
        if not self._gateway.directory.mcp(caller.namespace).enabled:
            raise NotFound("MCP is switched off: spec.mcp.enabled of runtime.yaml is false")
        if not MCP.installed:
            raise NotSupported(f"MCP needs an extra: {MCP.missing}; {MCP.advice}")

    async def _opened(self) -> Transports:
        async with self._opening:
            if self._transports is None:
                # A second of reading code, during which others are served.
                await asyncio.to_thread(import_module, _TRANSPORTS)
                from astromesh_gateway.mcp.transports import Transports

                transports = Transports(self._gateway)
                serving, stopping = asyncio.Event(), asyncio.Event()
                running = asyncio.create_task(transports.run(serving, stopping), name="mcp")

                async def stop() -> None:
                    stopping.set()
                    await running

                self._gateway.on_demand.push_async_callback(stop)
                await serving.wait()
                self._transports = transports
            return self._transports


class _Path:
    """One path as an ASGI application."""

    def __init__(self, endpoint: McpEndpoint, way: Way) -> None:
        self._endpoint = endpoint
        self._way: Way = way
        self.route: Route | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # By which requests are counted.
        scope["route"] = self.route
        await self._endpoint.serve(self._way, Request(scope, receive), send)


def _route(endpoint: McpEndpoint, path: str, way: Way, methods: list[str]) -> Route:
    served = _Path(endpoint, way)
    route = served.route = Route(path, served, methods=methods)
    # Nobody wants the head of a stream.
    assert route.methods is not None
    route.methods.discard("HEAD")
    return route
