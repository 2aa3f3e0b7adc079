"""What a placement owes to callers and servicers. The suite runs in each of them, through the fixture `placement`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core import errors
from astromesh_core.rpc.limits import MESSAGE_LIMIT
from astromesh_core.rpc.streams import reading
from astromesh_testing.contracts.call_suite import FailuresContract, TravellingContract
from astromesh_testing.contracts.placement import Placement, delta, named, routed, until


class MessagesContract:
    """Messages arrive whole, in order, and as copies."""

    async def test_a_stream_keeps_its_order_and_ends(self, placement: Placement) -> None:
        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            for number in range(100):
                yield delta(str(number))

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
            return named(seen)

        async with routed(placement, unary=unary) as stub:
            request = router_pb2.CheckProvidersRequest()
            request.agent.name = "mine"
            call = stub.CheckProviders(request)
            request.agent.name = "changed by the caller"
            reply = await call
        assert reply.providers[0].provider == "mine"
        assert request.agent.name == "changed by the caller"

    async def test_replies_are_copies(self, placement: Placement) -> None:
        kept = named("original")
        part = delta("original")

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
            return named("x" * (MESSAGE_LIMIT + 1))

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield delta("x" * (MESSAGE_LIMIT + 1))

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
            return named(request.agent.name)

        large = router_pb2.CheckProvidersRequest()
        large.agent.name = "é" * 500_000
        async with routed(placement, unary=unary) as stub:
            assert (await stub.CheckProviders(large)).providers[0].provider == large.agent.name


class LeavingContract:
    """Whoever leaves stops the work; whoever is slow slows it; whoever is late ends it."""

    @pytest.mark.parametrize("way", ["reading", "aclosing", "break", "cancel"])
    async def test_stops_paying_when_the_caller_leaves(self, placement: Placement, way: str) -> None:
        closed = asyncio.Event()

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            try:
                while True:
                    yield delta("token")
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
            return named("never")

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
                yield delta("x" * 65_536)

        async with (
            routed(placement, stream=stream) as stub,
            reading(stub.Complete(router_pb2.CompleteRequest())) as parts,
        ):
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
            return named("never")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            try:
                yield delta("a")
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
            return named("never")

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
            return named(request.agent.name)

        first, second = router_pb2.CheckProvidersRequest(), router_pb2.CheckProvidersRequest()
        first.agent.name, second.agent.name = "first", "second"
        async with routed(placement, unary=unary) as stub, asyncio.timeout(2):
            waiting, passing = stub.CheckProviders(first), stub.CheckProviders(second)
            replies = [await waiting, await passing]
        assert [reply.providers[0].provider for reply in replies] == ["first", "second"]


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
        task = asyncio.ensure_future(_read_into([], call))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def _read_into(texts: list[str], call: Any) -> None:
    async for part in call:
        texts.append(part.text_delta)
