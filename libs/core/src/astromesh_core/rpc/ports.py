"""The types that services, stubs and servers meet on, so that services need not name grpc."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio

from astromesh_core.rpc.identity import Caller

RpcServer = grpc.aio.Server
"""What servicers are added to: `add_XServicer_to_server(servicer, server)`."""

Channel = grpc.aio.Channel
"""What stubs are made of: `XStub(channel)`."""

ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""What a servicer's method gets beside its request. Ours raise errors and read `current_caller`, so they leave it
alone."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

Registrar = Callable[[RpcServer], None]
"""Adds the servicers of a service to a server."""

Gate = Callable[[Mapping[str, str]], Awaitable[Caller]]
"""Decides, by the headers of a call, on whose behalf it comes. Raises Denied."""
