"""A caller who leaves at whatever step of a call: no connection, no generator, and nothing that was given is left."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import cast

import pytest

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.dialects.openai_chat import OpenAIChat
from astromesh_router.dialects.streaming import HttpDialect
from astromesh_router.ports import Ranked
from astromesh_router.wire import Wire
from astromesh_testing.models.continuing import continuing
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Drop, Ending, Reply

from .asking import asking, complete
from .governing import RecordedPass, RecordedReservation, Recorder

TEXT = "one two three four five"
MOST_STEPS = 400


class Deliberate(Recorder):
    """Takes a step of the loop before it gives anything, and one after."""

    async def admit(self, candidate: Candidate) -> RecordedPass:
        await asyncio.sleep(0)
        return await super().admit(candidate)

    async def reserve(self, request: CompleteRequest, pool: Pool, ranked: Ranked) -> RecordedReservation:
        await asyncio.sleep(0)
        return await super().reserve(request, pool, ranked)


async def left_after(steps: int, telemetry: Telemetry) -> bool:
    """Whether the call was over before so many steps. Its models: one drops the call, then breaks off; one goes on."""
    left: list[object] = []
    hooks = sys.get_asyncgen_hooks()
    finalizer = hooks.finalizer
    sys.set_asyncgen_hooks(finalizer=lambda generator: left.append(cast("AsyncGenerator[object]", generator)))
    wire, recorder = Wire(), Deliberate()
    broken = Reply(TEXT, ending=Ending.BREAK_OFF, after=2)
    async with (
        OpenAIChatServer(Drop(), broken) as first,
        OpenAIChatServer(otherwise=continuing(Reply(TEXT))) as second,
    ):
        dialects = {"openai_compat": HttpDialect(wire, OpenAIChat(), {})}
        calls = Calls(dialects, telemetry, strategist=recorder, breakers=recorder, purse=recorder)
        candidates = [
            Candidate("vllm", "openai_compat", "stub-1", server.url, max_retries=1) for server in (first, second)
        ]
        call = asyncio.ensure_future(complete(calls, asking(), *candidates))
        for _ in range(steps):
            await asyncio.sleep(0)
        over = call.done()
        call.cancel()
        await asyncio.wait([call])
        if over:
            assert call.result().text == TEXT
        assert [given for given in recorder.given if not given.ended] == [], steps
        await wire.close()
    gc.collect()
    sys.set_asyncgen_hooks(finalizer=finalizer)
    assert left == [], steps
    return over


@pytest.fixture
def all_else_at_rest() -> Iterator[None]:
    """What other tests left in this process is not searched at every step: it can be a thousand times as much."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("all_else_at_rest")
async def test_whoever_leaves_at_any_step_leaves_nothing_behind(telemetry: Telemetry) -> None:
    for steps in range(0, MOST_STEPS, 3):
        if await left_after(steps, telemetry):
            return
    raise AssertionError("the call was never over")
