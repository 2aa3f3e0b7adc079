"""How a route learns who calls: each names the role that it needs. The rules stand in `auth`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from astromesh_core.rpc.identity import Caller, enter_caller
from astromesh_core.telemetry.traceparent import enter_trace, new_trace, parse
from astromesh_gateway.auth import Role, require
from astromesh_gateway.gateway import Gateway


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves the connection."""
    return cast("Gateway", connection.app.state.gateway)


def enter(connection: HTTPConnection, role: Role) -> Caller:
    """The caller, who has the role. From here on the running task works for it, in its trace.

    Raises Unauthenticated, Denied, InvalidInput.
    """
    gateway = gateway_of(connection)
    caller = gateway.authenticator.caller(connection.headers)
    require(caller, role)
    enter_caller(caller)
    enter_trace(trace_of(connection, gateway))
    return caller


def trace_of(connection: HTTPConnection, gateway: Gateway) -> str:
    """The trace that a request comes in, else a new one; "" where spans are recorded: the first of them starts it."""
    given = connection.headers.get("traceparent", "")
    if parse(given):
        return given
    return "" if gateway.telemetry.spans.recording else new_trace().encode()


async def _viewer(request: Request) -> Caller:
    return enter(request, "viewer")


async def _user(request: Request) -> Caller:
    return enter(request, "user")


async def _admin(request: Request) -> Caller:
    return enter(request, "admin")


async def _gateway(request: Request) -> Gateway:
    return gateway_of(request)


Viewer = Annotated[Caller, Depends(_viewer)]
User = Annotated[Caller, Depends(_user)]
Admin = Annotated[Caller, Depends(_admin)]
TheGateway = Annotated[Gateway, Depends(_gateway)]
