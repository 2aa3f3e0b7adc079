"""The servicer's edge over gRPC: between the transport and a servicer's methods. It asks the gate, sets up the task,
and turns errors into statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from astromesh_core.errors import AstromeshError
from astromesh_core.rpc.arrival import enter_call
from astromesh_core.rpc.edge import Edge
from astromesh_core.rpc.failures import encode
from astromesh_core.rpc.limits import within_limit
from astromesh_core.rpc.ports import Gate, Handler, Registrar, RpcServer, ServicerContext
from astromesh_core.telemetry.telemetry import Telemetry

TRACE_HEADER = "traceparent"

# By (request streams, response streams): how a handler is made, and where the servicer's method stands in the original.
_MAKERS: dict[tuple[bool, bool], tuple[Callable[..., Handler], str]] = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}


class GuardedServer:
    """Looks like a server to generated code, and adds each handler to the real one behind the gate and the edge."""

    def __init__(self, server: RpcServer, gate: Gate, telemetry: Telemetry) -> None:
        self._server = server
        self._gate = gate
        self._spans = telemetry.spans
        self._edge = Edge(telemetry.metrics)
        self.services: list[str] = []

    def install(self, registrar: Registrar) -> None:
        """Adds the servicers that `registrar` adds."""
        registrar(cast("RpcServer", self))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: object) -> None:
        """Part of what generated code calls; the same handlers come, by name, in `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Adds a service's methods, guarded."""
        guarded = {name: self._guarded(f"/{service_name}/{name}", handler) for name, handler in method_handlers.items()}
        self.services.append(service_name)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service_name, guarded),))
        self._server.add_registered_method_handlers(service_name, guarded)

    def _guarded(self, method: str, handler: Handler) -> Handler:
        make, attribute = _MAKERS[handler.request_streaming, handler.response_streaming]
        behaviour: Any = getattr(handler, attribute)
        serialise = cast("Callable[[Message], bytes]", handler.response_serializer)
        edge = self._streaming if handler.response_streaming else self._single
        # Serialised here rather than by gRPC, so that our limit speaks before the transport's.
        return make(edge(method, behaviour, serialise), request_deserializer=handler.request_deserializer)

    def _single(
        self,
        method: str,
        behaviour: Callable[[Any, ServicerContext], Awaitable[Message]],
        serialise: Callable[[Message], bytes],
    ) -> Callable[[Any, ServicerContext], Awaitable[bytes]]:
        def pack(reply: Message) -> bytes:
            return within_limit(serialise(reply), "reply")

        async def answer(request: Any, context: ServicerContext) -> bytes:
            try:
                await self._enter(context)
                with self._serving(method):
                    return await self._edge.answer(method, behaviour, request, context, pack)
            except AstromeshError as error:
                return await _refuse(context, error)

        return answer

    def _streaming(
        self,
        method: str,
        behaviour: Callable[[Any, ServicerContext], AsyncIterator[Message]],
        serialise: Callable[[Message], bytes],
    ) -> Callable[[Any, ServicerContext], Awaitable[None]]:
        # A coroutine that writes, not a generator: gRPC would leave a generator unclosed when the caller is gone.
        async def produce(request: Any, context: ServicerContext) -> None:
            async def put(reply: Message) -> None:
                await context.write(within_limit(serialise(reply), "reply"))

            try:
                await self._enter(context)
                with self._serving(method):
                    await self._edge.produce(method, behaviour, request, context, put)
            except AstromeshError as error:
                await _refuse(context, error)

        return produce

    async def _enter(self, context: ServicerContext) -> None:
        headers = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        caller = await self._gate(headers)
        enter_call(caller, context.time_remaining(), headers.get(TRACE_HEADER, ""))

    def _serving(self, method: str) -> AbstractContextManager[object]:
        return self._spans.span(method, kind="server") if self._spans.recording else nullcontext()


async def _refuse(context: ServicerContext, error: AstromeshError) -> Any:
    code, message, trailing = encode(error)
    await context.abort(code, message, trailing)
