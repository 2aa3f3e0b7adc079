"""What a call carries: identity, deadline and trace in, errors out. Part of `placement_suite`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, cast

import pytest

from astromesh.v1 import router_pb2, router_pb2_grpc
from astromesh_core import errors
from astromesh_core.rpc.deadlines import DEFAULT_TIMEOUT, remaining
from astromesh_core.rpc.identity import NOBODY, Caller, acting_for, current_caller
from astromesh_core.telemetry.traceparent import current_traceparent, enter_trace, leave_trace, new_trace
from astromesh_testing.contracts.placement import Placement, delta, named, routed

_private: ContextVar[str] = ContextVar("private", default="")


class FailuresContract:
    """What goes wrong arrives as the class that the servicer raised."""

    @pytest.mark.parametrize("kind", errors.ERRORS.values(), ids=errors.ERRORS)
    async def test_the_class_of_an_error_and_its_retry_after_survive(
        self, placement: Placement, kind: type[errors.AstromeshError]
    ) -> None:
        reason = "理由, in words: déjà vu; " * 50

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            raise kind(reason, retry_after=1.5)

        async with routed(placement, unary=unary) as stub:
            with pytest.raises(errors.AstromeshError) as caught:
                await stub.CheckProviders(router_pb2.CheckProvidersRequest())
        assert type(caught.value) is kind
        assert caught.value.message == reason
        assert caught.value.retry_after == 1.5

    async def test_an_error_in_mid_stream_comes_after_what_was_sent(self, placement: Placement) -> None:
        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield delta("a")
            yield delta("b")
            raise errors.RateLimited("slow down", retry_after=2)

        got: list[str] = []
        async with routed(placement, stream=stream) as stub:
            with pytest.raises(errors.RateLimited, match="slow down") as caught:
                await _read_into(got, stub.Complete(router_pb2.CompleteRequest()))
        assert got == ["a", "b"]
        assert caught.value.retry_after == 2

    async def test_an_unexpected_exception_is_a_bug_that_tells_no_content(self, placement: Placement) -> None:
        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            raise KeyError("the customer's words")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield delta("a")
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


class TravellingContract:
    """What belongs to a call arrives with it, and nothing else does."""

    async def test_the_servicer_runs_in_a_task_and_context_of_its_own(self, placement: Placement) -> None:
        seen: list[tuple[object, str]] = []

        async def unary(_: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
            seen.append((asyncio.current_task(), _private.get()))
            _private.set("the servicer's")
            return named("ok")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            seen.append((asyncio.current_task(), _private.get()))
            _private.set("the servicer's")
            yield delta("ok")

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
            return named("ok")

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
            return named("ok")

        async def stream(_: router_pb2.CompleteRequest) -> AsyncIterator[router_pb2.CompleteResponse]:
            yield delta(current_traceparent())

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
            return named("ok")

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
                return named("ok")

            async with routed(placement, unary=inner) as further:

                async def outer(request: router_pb2.CheckProvidersRequest) -> router_pb2.CheckProvidersResponse:
                    return await further.CheckProviders(request, timeout=60)

                async with routed(placement, unary=outer) as stub:
                    await stub.CheckProviders(router_pb2.CheckProvidersRequest(), timeout=1)
        assert 0 < seen[0] <= 1.1


async def _read_into(texts: list[str], call: Any) -> None:
    async for part in call:
        texts.append(part.text_delta)
