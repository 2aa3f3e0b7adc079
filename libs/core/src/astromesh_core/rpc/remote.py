"""The gRPC placement, seen from the caller: a channel whose calls carry identity, deadline, trace and token, and
raise our errors. It retries nothing: a lost answer may mean that the work was done."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, Self, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from astromesh_core.rpc.deadlines import timeout_for
from astromesh_core.rpc.failures import decode
from astromesh_core.rpc.gates import TOKEN_HEADER, bearer
from astromesh_core.rpc.guard import TRACE_HEADER
from astromesh_core.rpc.identity import CALLER_HEADER, NOBODY, current_caller
from astromesh_core.rpc.limits import CHANNEL_OPTIONS, within_limit
from astromesh_core.rpc.ports import Channel
from astromesh_core.telemetry.traceparent import current_traceparent

Headers = Sequence[tuple[str, str | bytes]]
Serializer = Callable[[Message], bytes]
Deserializer = Callable[[bytes], Message]
UnaryStart: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[Any, Message]"
StreamStart: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[Any, Message]"
UnaryInner: TypeAlias = "grpc.aio.UnaryUnaryCall[Any, Message]"
StreamInner: TypeAlias = "grpc.aio.UnaryStreamCall[Any, Message]"

Inner = TypeVar("Inner", bound="grpc.aio.RpcContext")
Held = TypeVar("Held")


class RemoteChannel:
    """A connection to one address, made at the first call and made again when it breaks. Whoever opens it closes it."""

    def __init__(self, address: str, token: str) -> None:
        self._inner = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.peer = address.rpartition("/")[2].removesuffix(".sock")
        """Whom people know at the address: the service that a socket is named after, else host and port."""
        self._token: Headers = ((TOKEN_HEADER, bearer(token)),) if token else ()

    def stub_channel(self) -> Channel:
        """What stubs are made of."""
        return cast("Channel", self)

    def unary_unary(
        self, method: str, request_serializer: Serializer, response_deserializer: Deserializer, **_: object
    ) -> RemoteMethod[UnaryInner, RemoteUnaryCall]:
        """A method with one request and one reply: `await method(request)`."""
        start: UnaryStart = self._inner.unary_unary(method, None, response_deserializer)
        return RemoteMethod(self, start, request_serializer, RemoteUnaryCall)

    def unary_stream(
        self, method: str, request_serializer: Serializer, response_deserializer: Deserializer, **_: object
    ) -> RemoteMethod[StreamInner, RemoteStreamCall]:
        """A method with one request and a stream of replies: `async for reply in method(request)`."""
        start: StreamStart = self._inner.unary_stream(method, None, response_deserializer)
        return RemoteMethod(self, start, request_serializer, RemoteStreamCall)

    def stream_unary(self, method: str, *codecs: Any, **_: object) -> grpc.aio.StreamUnaryMultiCallable[Any, Any]:
        """A method that streams its requests, as gRPC has it: the contract has none, so nothing of ours is added."""
        return self._inner.stream_unary(method, *codecs)

    def stream_stream(self, method: str, *codecs: Any, **_: object) -> grpc.aio.StreamStreamMultiCallable[Any, Any]:
        """A method that streams both ways, as gRPC has it: the contract has none, so nothing of ours is added."""
        return self._inner.stream_stream(method, *codecs)

    def headers(self, extra: Headers) -> Headers:
        """What travels with a call made now, by the running task."""
        caller, trace = current_caller(), current_traceparent()
        return (
            *self._token,
            *(((CALLER_HEADER, caller.encode()),) if caller is not NOBODY else ()),
            *(((TRACE_HEADER, trace),) if trace else ()),
            *extra,
        )

    async def close(self) -> None:
        """Ends the calls under way and the connection."""
        await self._inner.close()


class RemoteMethod(Generic[Inner, Held]):
    """A method of a stub: `method(request, timeout=...)` sends the request and answers the call, as its caller holds
    it."""

    def __init__(
        self,
        channel: RemoteChannel,
        start: Callable[..., Inner],
        serialise: Serializer,
        held: Callable[[Inner, str], Held],
    ) -> None:
        self._channel = channel
        self._start = start
        self._serialise = serialise
        self._held = held

    def __call__(
        self, request: Message, *, timeout: float | None = None, metadata: Headers = (), wait_for_ready: bool = False
    ) -> Held:
        """Starts the call. Raises InvalidInput for a request over the limit."""
        call = self._start(
            within_limit(self._serialise(request), "request"),
            timeout=timeout_for(timeout),
            metadata=self._channel.headers(metadata),
            wait_for_ready=wait_for_ready,
        )
        return self._held(call, self._channel.peer)


class RemoteCall(Generic[Inner]):
    """A call under way at `peer`."""

    def __init__(self, call: Inner, peer: str) -> None:
        self._call = call
        self._peer = peer

    def cancel(self) -> bool:
        """Leaves the call and tells the server. False where it has ended already."""
        return self._call.cancel()

    def cancelled(self) -> bool:
        """Whether the call ended as cancelled."""
        return self._call.cancelled()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._call.done()


class RemoteUnaryCall(RemoteCall[UnaryInner]):
    """A call with one reply. Cancelling whoever awaits it cancels it at the server too."""

    def __await__(self) -> Generator[Any, None, Message]:
        """The reply. Raises our error for whatever the server, or the way to it, answered."""
        try:
            return (yield from self._call.__await__())
        except grpc.aio.AioRpcError as error:
            raise decode(error, self._peer) from None

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What the server sent beside its reply."""
        return await self._call.trailing_metadata()


class RemoteStreamCall(RemoteCall[StreamInner]):
    """A call with a stream of replies. Whoever leaves early closes it: with `reading`, `aclosing`, or by dropping
    it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next reply. Raises our error after the last."""
        try:
            reply = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise decode(error, self._peer) from None
        if reply is grpc.aio.EOF:
            raise StopAsyncIteration
        return cast("Message", reply)

    async def aclose(self) -> None:
        """Leaves the stream; nothing happens where it has ended."""
        self._call.cancel()

    def __del__(self) -> None:
        self._call.cancel()
