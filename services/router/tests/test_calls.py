"""Candidates are asked in their order, the user never reads a text twice, and whoever leaves stops the model."""

import asyncio
import socket
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from astromesh_core.errors import InvalidInput, NotSupported, RateLimited, TimedOut, Unavailable
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience, Pool
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Ending, Hang, Refusal, Reply

from .asking import Gathered, asking, complete, gather, nowhere, ollama, openai

REFUSED = "refused the connection (2 attempts)"
EXTRACTIVE = Candidate("extractive", "extractive", "extractive")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_ollama_that_is_not_there_costs_milliseconds(calls: Calls) -> None:
    absent = nowhere(free_port())
    await complete(calls, asking(), absent, EXTRACTIVE)  # loads the HTTP stack
    begun = time.perf_counter()
    gathered = await complete(calls, asking(), absent, EXTRACTIVE)
    assert time.perf_counter() - begun < 0.1, "two attempts, and a short pause"
    missed, chosen = gathered.completion.route.steps
    assert (missed.provider, missed.error_class, missed.reason) == ("ollama", "unavailable", REFUSED)
    assert (chosen.provider, chosen.chosen) == ("extractive", True)
    assert gathered.voided == []


async def test_a_failure_before_the_first_text_is_passed_over_silently(calls: Calls) -> None:
    async with OpenAIChatServer(Refusal(500)) as first, OllamaServer(Reply("Second.")) as second:
        gathered = await complete(calls, asking(), openai(first), ollama(second))
    assert gathered.text == "Second."
    assert gathered.voided == []
    assert gathered.completion.charge.provider == "ollama"
    assert [step.reason for step in gathered.completion.route.steps] == ["answered 500", "declared as number 2"]


async def test_a_failure_after_text_makes_that_text_void(calls: Calls) -> None:
    broken = Reply("one two three", ending=Ending.BREAK_OFF, after=2, pause=0.01)
    async with OpenAIChatServer(broken) as first, OpenAIChatServer(Reply("Whole answer.")) as second:
        gathered = await complete(calls, asking(), openai(first), openai(second))
    assert gathered.voided == ["one two"]
    assert gathered.text == "Whole answer."
    assert gathered.reasons == ["openai_compat stub-1: broke off in mid-reply"]


async def test_no_restart_is_announced_when_nobody_is_left_to_ask(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("one two three", ending=Ending.ERROR, after=2, pause=0.02)) as server:
        gathered = Gathered()
        with pytest.raises(Unavailable):
            await gather(calls.complete(Pool((openai(server),)), asking()), gathered)
    assert gathered.text == "one two"
    assert gathered.reasons == []


async def test_a_provider_that_hangs_is_left_for_the_next(calls: Calls) -> None:
    async with OpenAIChatServer(Hang()) as first, OpenAIChatServer(Reply("Here.")) as second:
        gathered = await complete(calls, asking(), openai(first), openai(second))
        await first.departed()
    assert gathered.text == "Here."
    assert gathered.completion.route.steps[0].error_class == "timed-out"


async def test_when_all_fail_the_error_names_all_and_leaves_most_hope(calls: Calls) -> None:
    limited = Refusal(429, "busy", "rate_limit_exceeded", retry_after="3")
    async with OpenAIChatServer(Refusal(400, "bad field")) as first, OpenAIChatServer(limited) as second:
        with pytest.raises(RateLimited) as caught:
            await complete(calls, asking(), openai(first), openai(second))
    assert caught.value.retry_after == 3.0
    assert "bad field" in caught.value.message
    assert "busy" in caught.value.message


async def test_two_calls_at_one_model_do_not_wait_for_each_other(calls: Calls) -> None:
    slow, quick = Reply("slow", pause_first=0.2), Reply("quick")
    async with OpenAIChatServer(slow, quick) as server:
        first = asyncio.create_task(complete(calls, asking(), openai(server)))
        await server.asked()
        assert (await complete(calls, asking(), openai(server))).text == "quick"
        assert not first.done()
        assert (await first).text == "slow"


async def test_a_dialect_that_is_not_built_is_named(calls: Calls) -> None:
    with pytest.raises(NotSupported, match="morse dialect"):
        await complete(calls, asking(), Candidate("telegraph", "morse", "key"))


async def test_an_agent_without_models_is_refused(calls: Calls) -> None:
    with pytest.raises(InvalidInput):
        await complete(calls, asking())


@pytest.mark.parametrize("server_type", [OpenAIChatServer, OllamaServer])
async def test_stops_paying_when_the_caller_leaves(
    calls: Calls, server_type: type[OpenAIChatServer] | type[OllamaServer]
) -> None:
    async with server_type(Reply("one two three four", pause=0.1)) as server:
        candidate = openai(server) if isinstance(server, OpenAIChatServer) else ollama(server)
        async with aclosing(calls.complete(Pool((candidate,)), asking())) as parts:
            async for part in parts:
                assert part.text_delta
                break
        async with asyncio.timeout(0.5):
            await server.departed()


async def test_stops_paying_when_the_call_is_cancelled_before_any_text(calls: Calls) -> None:
    async with OpenAIChatServer(Hang()) as server:
        call = asyncio.create_task(complete(calls, asking(), openai(server)))
        await server.asked()
        call.cancel()
        async with asyncio.timeout(0.5):
            await server.departed()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_every_attempt_is_counted(calls: Calls, telemetry: Telemetry) -> None:
    async with OpenAIChatServer(Refusal(500), Reply("x")) as server:
        candidate = openai(server)
        await complete(calls, asking(), candidate, replace(candidate, model="stub-2"))
    value = telemetry.metrics.registry.get_sample_value
    labels = {"provider": "openai_compat", "model": "stub-1", "outcome": "unavailable"}
    assert value("astromesh_model_calls_total", labels) == 1
    labels |= {"model": "stub-2", "outcome": "ok"}
    assert value("astromesh_model_calls_total", labels) == 1


async def test_a_candidate_without_time_left_is_timed_out(calls: Calls) -> None:
    async with OpenAIChatServer(Hang()) as server:
        with pytest.raises(TimedOut, match=r"no complete reply within 0\.05 s"):
            await complete(calls, asking(), replace(openai(server), patience=Patience(whole=0.05)))
