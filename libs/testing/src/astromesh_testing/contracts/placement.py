"""Both placements of a service, for tests: the fixture `placement` runs a test in process and over gRPC.

A service's tests reuse it so: import `placement` in their conftest, then
`async with placement(lambda server: add_XServicer_to_server(servicer, server)) as channel: stub = XStub(channel)`.
`PlacementContract` is the suite that the placements themselves must pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast

import pytest
from astromesh.v1 import router_pb2, router_pb2_grpc

from astromesh_core import errors
from astromesh_core.rpc.deadlines import DEFAULT_TIMEOUT, remaining
from astromesh_core.rpc.gates import MeshGate
from astromesh_core.rpc.identity import NOBODY, Caller, acting_for, current_caller
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.rpc.limits import MESSAGE_LIMIT
from astromesh_core.rpc.ports import Channel, Registrar
from astromesh_core.rpc.remote import RemoteChannel
from astromesh_core.rpc.serving import serve
from astromesh_core.rpc.streams import reading
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.telemetry.traceparent import current_traceparent, enter_trace, leave_trace, new_trace

TOKEN = "a-token-for-tests"

Placement = Callable[[Registrar], AbstractAsyncContextManager[Channel]]
"""Serves a registrar's servicers in the block and gives the channel to them."""


@asynccontextmanager
async def in_process(registrar: Registrar) -> AsyncIterator[Channel]:
    """The servicers in this process, called directly."""
    server = InProcessServer(Telemetry())
    server.install(registrar)
    yield server.channel()
    await server.stop(grace=0)


@asynccontextmanager
async def over_grpc(registrar: Registrar) -> AsyncIterator[Channel]:
    """The servicers behind a gRPC server on loopback."""
    async with serve([registrar], "127.0.0.1:0", MeshGate(TOKEN), Telemetry(), drain_seconds=0) as server:
        channel = RemoteChannel(server.address, TOKEN)
        yield channel.stub_channel()
        await channel.close()


@pytest.fixture(params=[in_process, over_grpc], ids=["in-process", "grpc"])
def placement(request: pytest.FixtureRequest) -> Placement:
    """Each placement in turn."""
    return cast("Placement", request.param)


Unary = Callable[[router_pb2.CheckProvidersRequest], Awaitable[router_pb2.CheckProvidersResponse]]
Stream = Callable[[router_pb2.CompleteRequest], AsyncIterator[router_pb2.CompleteResponse]]


class ScriptedRouter(router_pb2_grpc.RouterServiceServicer):
    """A servicer that does what the test says."""

    def __init__(self, *, unary: Unary | None = None, stream: Stream | None = None) -> None:
        self._unary = unary
        self._stream = stream

    async def CheckProviders(  # noqa: N802 - the contract's name
        self, request: router_pb2.CheckProvidersRequest, context: Any
    ) -> router_pb2.CheckProvidersResponse:
        """Answers by the script."""
        assert self._unary is not None
        return await self._unary(request)

    async def Complete(  # noqa: N802 - the contract's name
        self, request: router_pb2.CompleteRequest, context: Any
    ) -> AsyncIterator[router_pb2.CompleteResponse]:
        """Streams by the script."""
        assert self._stream is not None
        async with aclosing(cast("Any", self._stream(request))) as parts:
            async for part in parts:
                yield part


@asynccontextmanager
async def routed(
    placement: Placement, *, unary: Unary | None = None, stream: Stream | None = None
) -> AsyncIterator[router_pb2_grpc.RouterServiceAsyncStub]:
    """A stub of a scripted router in the placement."""
    servicer = ScriptedRouter(unary=unary, stream=stream)

    def register(server: Any) -> None:
        router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)

    async with placement(register) as channel:
        yield router_pb2_grpc.RouterServiceStub(channel)


def _delta(text: str) -> router_pb2.CompleteResponse:
    return router_pb2.CompleteResponse(text_delta=text)


def _named(name: str) -> router_pb2.CheckProvidersResponse:
    return router_pb2.CheckProvidersResponse(providers=[router_pb2.ProviderHealth(provider=name)])


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    """Waits for what happens at the other side in its own time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


_private: ContextVar[str] = ContextVar("private", default="")


class MessagesContract:
    """Messages arrive whole, in order, and as copies."""

    async def test_a_stream_keeps_its_order_and_ends(self, placement: Placement) -> None:
        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            for number in range(100):
                yield _delta(str(number))

        async with routed(placement, stream=stream) as stub:
            got = [part.text_delta async for part in stub.Complete(router_pb2.CompleteRequest())]
        assert got == [str(number) for number in range(100)]

    async def test_an_empty_stream_ends(self, placement: Placement) -> None:
        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            for part in ():
                yield part

        async with routed(placement, stream=stream) as stub:
            assert [part async for part in stub.Complete(router_pb2.CompleteRequest())] == []

    async def test_the_servicer_gets_a_copy_of_the_request(self, placement: Placement) -> None:
        async def unary(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            await asyncio.sleep(0.01)
            seen = request.agent.name
            request.agent.name = "changed by the servicer"
            return _named(seen)

        async with routed(placement, unary=unary) as stub:
            request = router_pb2.CheckProvidersRequest()
            request.agent.name = "mine"
            call = stub.CheckProviders(request)
            request.agent.name = "changed by the caller"
            reply = await call
        assert reply.providers[0].provider == "mine"
        assert request.agent.name == "changed by the caller"

    async def test_replies_are_copies(self, placement: Placement) -> None:
        kept = _named("original")
        part = _delta("original")

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            return kept

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield part
            part.text_delta = "changed by the servicer"

        async with routed(placement, unary=unary, stream=stream) as stub:
            reply = await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            reply.providers[0].provider = "changed by the caller"
            got = [item.text_delta async for item in stub.Complete(router_pb2.CompleteRequest())]
        assert kept.providers[0].provider == "original"
        assert got == ["original"]

    async def test_a_message_over_the_limit_is_refused_alike(self, placement: Placement) -> None:
        calls: list[str] = []

        async def unary(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            calls.append(request.agent.name)
            return _named("x" * (MESSAGE_LIMIT + 1))

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield _delta("x" * (MESSAGE_LIMIT + 1))

        large = router_pb2.CheckProvidersRequest()
        large.agent.name = "x" * (MESSAGE_LIMIT + 1)
        async with routed(placement, unary=unary, stream=stream) as stub:
            with pytest.raises(errors.InvalidInput, match="request has"):
                await stub.CheckProviders(large)
            assert calls == []
            with pytest.raises(errors.InvalidInput, match="reply has"):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            with pytest.raises(errors.InvalidInput, match="reply has"):
                await anext(aiter(stub.Complete(router_pb2.CompleteRequest())))

    async def test_a_message_of_a_megabyte_passes(self, placement: Placement) -> None:
        async def unary(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            return _named(request.agent.name)

        large = router_pb2.CheckProvidersRequest()
        large.agent.name = "é" * 500_000
        async with routed(placement, unary=unary) as stub:
            assert (await stub.CheckProviders(large)).providers[0].provider == large.agent.name


class FailuresContract:
    """What goes wrong arrives as the class that the servicer raised."""

    @pytest.mark.parametrize("kind", errors.ERRORS.values(), ids=errors.ERRORS)
    async def test_the_class_of_an_error_and_its_retry_after_survive(
        self, placement: Placement, kind: type[errors.AstromeshError]
    ) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            raise kind("the reason, in words: déjà vu", retry_after=1.5)

        async with routed(placement, unary=unary) as stub:
            with pytest.raises(errors.AstromeshError) as caught:
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
        assert type(caught.value) is kind
        assert caught.value.message == "the reason, in words: déjà vu"
        assert caught.value.retry_after == 1.5

    async def test_an_error_in_mid_stream_comes_after_what_was_sent(self, placement: Placement) -> None:
        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield _delta("a")
            yield _delta("b")
            raise errors.RateLimited("slow down", retry_after=2)

        got: list[str] = []
        async with routed(placement, stream=stream) as stub:
            with pytest.raises(errors.RateLimited, match="slow down") as caught:
                async for part in stub.Complete(router_pb2.CompleteRequest()):
                    got.append(part.text_delta)  # noqa: PERF401 - what came before the error must be kept
        assert got == ["a", "b"]
        assert caught.value.retry_after == 2

    async def test_an_unexpected_exception_is_a_bug_that_tells_no_content(self, placement: Placement) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            raise KeyError("the customer's words")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield _delta("a")
            raise ZeroDivisionError

        async with routed(placement, unary=unary, stream=stream) as stub:
            with pytest.raises(errors.Bug, match="KeyError") as caught:
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            with pytest.raises(errors.Bug, match="ZeroDivisionError"):
                _ = [part async for part in stub.Complete(router_pb2.CompleteRequest())]
        assert "customer" not in caught.value.message

    async def test_a_servicer_that_answers_nothing_is_a_bug(self, placement: Placement) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            return cast("router_pb2.CheckProvidersResponse", None)

        async with routed(placement, unary=unary) as stub:
            with pytest.raises(errors.Bug):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=2)

    async def test_a_servicer_that_cancels_itself_is_unavailable(self, placement: Placement) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            raise asyncio.CancelledError

        async with routed(placement, unary=unary) as stub:
            with pytest.raises(errors.Unavailable):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=2)

    async def test_a_method_that_is_not_built_is_not_supported(self, placement: Placement) -> None:
        def register(server: Any) -> None:
            servicer = cast("Any", router_pb2_grpc.RouterServiceServicer)()
            router_pb2_grpc.add_RouterServiceServicer_to_server(servicer, server)

        async with placement(register) as channel:
            stub = router_pb2_grpc.RouterServiceStub(channel)
            with pytest.raises(errors.NotSupported):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            with pytest.raises(errors.NotSupported):
                await anext(aiter(stub.Complete(router_pb2.CompleteRequest())))

    async def test_a_service_that_is_not_there_is_not_supported(self, placement: Placement) -> None:
        async with placement(lambda server: None) as channel:
            with pytest.raises(errors.NotSupported):
                await router_pb2_grpc.RouterServiceStub(channel).CheckProviders(router_pb2.CheckProvidersRequest())


class LeavingContract:
    """Whoever leaves stops the work; whoever is slow slows it; whoever is late ends it."""

    @pytest.mark.parametrize("way", ["reading", "aclosing", "break", "cancel"])
    async def test_stops_paying_when_the_caller_leaves(self, placement: Placement, way: str) -> None:
        closed = asyncio.Event()

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            try:
                while True:
                    yield _delta("token")
                    await asyncio.sleep(0.001)
            finally:
                await asyncio.sleep(0)
                closed.set()

        async with routed(placement, stream=stream) as stub:
            await _leave(stub, way)
            async with asyncio.timeout(2):
                await closed.wait()

    async def test_a_caller_that_leaves_a_unary_call_stops_it(self, placement: Placement) -> None:
        started, closed = asyncio.Event(), asyncio.Event()

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                closed.set()
            return _named("never")

        async with routed(placement, unary=unary) as stub:
            waiting = asyncio.ensure_future(cast("Any", stub.CheckProviders(router_pb2.CheckProvidersRequest())))
            async with asyncio.timeout(2):
                await started.wait()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await closed.wait()

    async def test_a_slow_consumer_slows_the_producer(self, placement: Placement) -> None:
        produced = 0

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            nonlocal produced
            for _number in range(500):
                produced += 1
                yield _delta("x" * 65_536)

        async with routed(placement, stream=stream) as stub, reading(stub.Complete(router_pb2.CompleteRequest())) as parts:
            await anext(parts)
            await asyncio.sleep(0.2)
            assert produced < 250
            rest = [part async for part in parts]
        assert len(rest) == 499

    async def test_the_deadline_is_enforced_and_stops_the_servicer(self, placement: Placement) -> None:
        closed: list[str] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            try:
                await asyncio.sleep(60)
            finally:
                closed.append("unary")
            return _named("never")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            try:
                yield _delta("a")
                await asyncio.sleep(60)
            finally:
                closed.append("stream")

        async with routed(placement, unary=unary, stream=stream) as stub:
            with pytest.raises(errors.TimedOut):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=0.1)
            with pytest.raises(errors.TimedOut):
                _ = [part async for part in stub.Complete(router_pb2.CompleteRequest(), timeout=0.1)]
            await until(lambda: sorted(closed) == ["stream", "unary"])

    async def test_a_call_whose_time_is_over_before_it_starts_times_out(self, placement: Placement) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            await asyncio.sleep(60)
            return _named("never")

        async with routed(placement, unary=unary) as stub:
            with pytest.raises(errors.TimedOut):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=-1)

    async def test_two_calls_do_not_block_each_other(self, placement: Placement) -> None:
        gate = asyncio.Event()

        async def unary(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            if request.agent.name == "first":
                await gate.wait()
            else:
                gate.set()
            return _named(request.agent.name)

        first, second = router_pb2.CheckProvidersRequest(), router_pb2.CheckProvidersRequest()
        first.agent.name, second.agent.name = "first", "second"
        async with routed(placement, unary=unary) as stub, asyncio.timeout(2):
            replies = await asyncio.gather(
                cast("Any", stub.CheckProviders(first)), cast("Any", stub.CheckProviders(second))
            )
        assert [reply.providers[0].provider for reply in replies] == ["first", "second"]


class TravellingContract:
    """What belongs to a call arrives with it, and nothing else does."""

    async def test_the_servicer_runs_in_a_task_and_context_of_its_own(self, placement: Placement) -> None:
        seen: list[tuple[object, str]] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            seen.append((asyncio.current_task(), _private.get()))
            _private.set("the servicer's")
            return _named("ok")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            seen.append((asyncio.current_task(), _private.get()))
            _private.set("the servicer's")
            yield _delta("ok")

        token = _private.set("the caller's")
        async with routed(placement, unary=unary, stream=stream) as stub:
            await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            _ = [part async for part in stub.Complete(router_pb2.CompleteRequest())]
        assert _private.get() == "the caller's"
        _private.reset(token)
        tasks = {task for task, _ in seen}
        assert len(tasks) == 2
        assert asyncio.current_task() not in tasks
        assert all(value != "the servicer's" for _, value in seen)

    async def test_the_callers_identity_travels(self, placement: Placement) -> None:
        seen: list[Caller] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            seen.append(current_caller())
            return _named("ok")

        ada = Caller("Ada Lovelace/köln %", "team-a", "operator")
        async with routed(placement, unary=unary) as stub:
            with acting_for(ada):
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            await stub.CheckProviders(router_pb2.CheckProvidersRequest())
        assert seen == [ada, NOBODY]

    async def test_the_trace_travels(self, placement: Placement) -> None:
        seen: list[str] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            seen.append(current_traceparent())
            return _named("ok")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield _delta(current_traceparent())

        trace = new_trace().encode()
        async with routed(placement, unary=unary, stream=stream) as stub:
            token = enter_trace(trace)
            await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            parts = [part.text_delta async for part in stub.Complete(router_pb2.CompleteRequest())]
            leave_trace(token)
        assert seen == [trace]
        assert parts == [trace]

    async def test_every_call_has_a_deadline_and_it_travels(self, placement: Placement) -> None:
        seen: list[float] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            seen.append(remaining())
            return _named("ok")

        async with routed(placement, unary=unary) as stub:
            await stub.CheckProviders(router_pb2.CheckProvidersRequest())
            await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=5)
        assert DEFAULT_TIMEOUT - 2 < seen[0] <= DEFAULT_TIMEOUT + 0.1
        assert 3 < seen[1] <= 5.1

    async def test_a_call_made_while_serving_another_does_not_outlive_it(self, placement: Placement) -> None:
        seen: list[float] = []

        async with asyncio.timeout(5):

            async def inner(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
                seen.append(remaining())
                return _named("ok")

            async with routed(placement, unary=inner) as further:

                async def outer(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
                    return await further.CheckProviders(request, timeout=60)

                async with routed(placement, unary=outer) as stub:
                    await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=1)
        assert 0 < seen[0] <= 1.1


class PlacementContract(MessagesContract, FailuresContract, LeavingContract, TravellingContract):
    """All that a placement owes to its callers and its servicers."""


async def _leave(stub: router_pb2_grpc.RouterServiceAsyncStub, way: str) -> None:
    call = cast("Any", stub.Complete(router_pb2.CompleteRequest()))
    if way == "reading":
        async with reading(call) as parts:
            await anext(parts)
    elif way == "aclosing":
        async with aclosing(call) as parts:
            await anext(parts)
    elif way == "break":
        async for _ in call:
            break
    else:
        task = asyncio.ensure_future(_read_on(call))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def _read_on(call: Any) -> None:
    async for _ in call:
        pass
