"""Calls that come while another one tries an endpoint again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from astromesh_core.errors import Unavailable
from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.breakers import SharedBreakers
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience
from astromesh_router.circuits import Clock
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Refusal, Reply

from .asking import asking, complete, openai


@pytest.mark.parametrize(("probe", "answered"), [(Reply("Here.", pause=0.2), 5), (Refusal(500), 0)])
async def test_calls_of_an_agent_with_one_model_wait_for_the_probe_and_share_its_fate(
    telemetry: Telemetry, calls: Calls, probe: Reply | Refusal, answered: int
) -> None:
    now = [1000.0]
    breakers = SharedBreakers(telemetry.metrics, clock=Clock(lambda: now[0], lambda: now[0]))
    dialect = calls.dialect(Candidate("", "openai_compat", ""))
    governed = Calls({"openai_compat": dialect}, telemetry, breakers=breakers)
    async with OpenAIChatServer(Refusal(500), probe, *[Reply("Here.")] * 9) as server:
        alone = replace(openai(server), breaker=CircuitBreaker(failure_threshold=1, cooldown_seconds=60))
        alone = replace(alone, patience=Patience(whole=5.0))
        with pytest.raises(Unavailable):
            await complete(governed, asking(), alone)
        now[0] += 60
        ends = await asyncio.gather(*(complete(governed, asking(), alone) for _ in range(5)), return_exceptions=True)
        assert sum(not isinstance(end, BaseException) for end in ends) == answered
        assert len(server.requests) == 1 + max(1, answered)
