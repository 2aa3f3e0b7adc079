"""The in-process placement: a generated stub calls the servicer directly, by the rules of gRPC (copies of messages,
a task and context of its own, deadlines, back-pressure). Methods that stream requests are not carried: the contract
has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Generic, Never, TypeVar, cast

import grpc
from google.protobuf.message import Message

from astromesh_core.errors import NotSupported, Unavailable
from astromesh_core.rpc.arrival import enter_call
from astromesh_core.rpc.deadlines import remaining, timeout_for
from astromesh_core.rpc.edge import Edge
from astromesh_core.rpc.failures import CLASSES
from astromesh_core.rpc.identity import current_caller
from astromesh_core.rpc.limits import within_limit
from astromesh_core.rpc.local_calls import LocalStreamCall, LocalUnaryCall, Running, start_stream
from astromesh_core.rpc.pipe import Pipe
from astromesh_core.rpc.ports import Channel, Handler, Registrar, RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.telemetry.traceparent import current_traceparent

Headers = Sequence[tuple[str, str | bytes]]

Result = TypeVar("Result")
Held = TypeVar("Held")


class InProcessServer:
    """Holds the servicers of this process. `install` adds them; stubs on `channel()` call them, also those added
    later."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._spans = telemetry.spans
        self._edge = Edge(telemetry.metrics)
        self._handlers: dict[str, Handler] = {}
        self.running: set[Running] = set()
        self._stopped = False

    def install(self, registrar: Registrar) -> None:
        """Adds the servicers that `registrar` adds."""
        registrar(cast("RpcServer", self))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: object) -> None:
        """Part of what generated code calls; the same handlers come, by name, in `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Adds a service's methods. A service that is there already is replaced."""
        for name, handler in method_handlers.items():
            self._handlers[f"/{service_name}/{name}"] = handler

    def channel(self) -> Channel:
        """What stubs are made of. Any number of them; there is nothing to close."""
        return cast("Channel", InProcessChannel(self))

    def handler(self, method: str) -> Handler:
        """The handler of a method. Raises Unavailable after `stop`, NotSupported for a method that nobody serves
        here."""
        if self._stopped:
            raise Unavailable(f"{method} is not served any more: the process stops.")
        handler = self._handlers.get(method)
        if handler is None:
            raise NotSupported(f"{method} is not served in this process.")
        return handler

    def answering(
        self, method: str, handler: Handler, request: Message, metadata: Headers
    ) -> Callable[[], Coroutine[Any, Any, Message]]:
        """The work of a call with one reply."""
        behaviour = cast("Any", handler.unary_unary)
        work = partial(self._edge.answer, method, behaviour, request, LocalContext(metadata), _copied)
        return partial(self._traced, method, work) if self._spans.recording else work

    def producing(
        self, method: str, handler: Handler, request: Message, metadata: Headers, pipe: Pipe[Message]
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """The work of a call with a stream of replies."""

        async def put(reply: Message) -> None:
            await pipe.put(_copied(reply))

        behaviour = cast("Any", handler.unary_stream)
        work = partial(self._edge.produce, method, behaviour, request, LocalContext(metadata), put)
        return partial(self._traced, method, work) if self._spans.recording else work

    async def _traced(self, method: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        with self._spans.span(method, kind="server"):
            return await work()

    async def stop(self, grace: float) -> None:
        """Refuses new calls, gives those under way `grace` seconds, then cancels them and waits for their `finally`."""
        self._stopped = True
        # One step, so that every task has started: one that is cancelled before could tell its caller nothing.
        await asyncio.sleep(0)
        if self.running:
            await asyncio.wait(self.running, timeout=grace)
        leftover = list(self.running)
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)


class InProcessChannel:
    """The four factories that a stub calls, and nothing to open or close."""

    def __init__(self, server: InProcessServer) -> None:
        self._server = server

    def unary_unary(self, method: str, *_: object, **__: object) -> LocalMethod[LocalUnaryCall[Message]]:
        """A method with one request and one reply. The stub's codecs are not needed: the handler has the same."""
        return LocalMethod(self._server, method, _start_unary)

    def unary_stream(self, method: str, *_: object, **__: object) -> LocalMethod[LocalStreamCall[Message]]:
        """A method with one request and a stream of replies."""
        return LocalMethod(self._server, method, _start_stream)

    def stream_unary(self, method: str, *_: object, **__: object) -> Callable[..., Never]:
        """Not carried in process: calling it raises NotSupported."""
        return _not_carried(method)

    def stream_stream(self, method: str, *_: object, **__: object) -> Callable[..., Never]:
        """Not carried in process: calling it raises NotSupported."""
        return _not_carried(method)


class LocalMethod(Generic[Held]):
    """A method of a stub: `method(request, timeout=...)` starts the servicer and answers the call, as its caller holds
    it."""

    __slots__ = ("_method", "_server", "_start")

    def __init__(
        self,
        server: InProcessServer,
        method: str,
        start: Callable[[InProcessServer, str, Handler, Message, Headers, float], Held],
    ) -> None:
        self._server = server
        self._method = method
        self._start = start

    def __call__(
        self,
        request: Message,
        *,
        timeout: float | None = None,
        metadata: Headers = (),
        wait_for_ready: bool | None = None,
    ) -> Held:
        """Starts the call. Raises what stands in the way of starting it; `wait_for_ready` has no meaning here."""
        server, method = self._server, self._method
        handler = server.handler(method)
        return self._start(server, method, handler, _copied(request, "request"), metadata, timeout_for(timeout))


def _start_unary(
    server: InProcessServer, method: str, handler: Handler, request: Message, metadata: Headers, seconds: float
) -> LocalUnaryCall[Message]:
    work = server.answering(method, handler, request, metadata)
    return LocalUnaryCall(server.running, method, work, _arriving(seconds), seconds)


def _start_stream(
    server: InProcessServer, method: str, handler: Handler, request: Message, metadata: Headers, seconds: float
) -> LocalStreamCall[Message]:
    pipe: Pipe[Message] = Pipe(asyncio.get_running_loop())
    work = server.producing(method, handler, request, metadata, pipe)
    return start_stream(server.running, method, pipe, work, _arriving(seconds), seconds)


class LocalContext:
    """What a servicer may ask of its context in this placement. Ours raise errors and read `current_caller` instead."""

    __slots__ = ("_metadata",)

    def __init__(self, metadata: Headers) -> None:
        self._metadata = metadata

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return remaining()

    def invocation_metadata(self) -> Headers:
        """What the caller gave as `metadata`."""
        return self._metadata

    def peer(self) -> str:
        """Who calls."""
        return "in-process"

    def set_code(self, code: grpc.StatusCode) -> None:
        """Accepted because generated defaults call it; the exception that follows decides."""

    def set_details(self, details: str) -> None:
        """Accepted because generated defaults call it; the exception that follows decides."""

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Headers = ()) -> Never:
        """Ends the call with the error that the status stands for."""
        raise CLASSES[code](details)


def _copied(message: Message, what: str = "reply") -> Message:
    return type(message).FromString(within_limit(message.SerializeToString(), what))


def _arriving(timeout: float) -> Context:
    """The servicer's own context: nothing of the caller's but who asks, until when, and in which trace."""
    context = Context()
    context.run(enter_call, current_caller(), timeout, current_traceparent())
    return context


def _not_carried(method: str) -> Callable[..., Never]:
    def refuse(*_: object, **__: object) -> Never:
        raise NotSupported(f"{method} streams its requests, which the in-process placement does not carry.")

    return refuse
