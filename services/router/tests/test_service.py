"""The service over both placements: streams, errors, departures and health, with resources as they are declared."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.router_pb2 import CheckProvidersRequest, CompleteRequest
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.errors import NotFound, RateLimited
from astromesh_router.calls import Calls
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Hang, Refusal, Reply

from .asking import Gathered, user
from .serving import Served, answer, stub_of

if TYPE_CHECKING:
    from astromesh.v1.router_pb2_grpc import RouterServiceAsyncStub


@pytest.fixture
def served(calls: Calls) -> Served:
    return Served(calls)


async def ask(stub: RouterServiceAsyncStub, agent: ResourceRef) -> Gathered:
    return await answer(stub, CompleteRequest(agent=agent, messages=[user("hello")], path="1"))


def at(server: OpenAIChatServer | OllamaServer) -> dict[str, object]:
    provider = "ollama" if isinstance(server, OllamaServer) else "openai_compat"
    return {"provider": provider, "model": "stub-1", "endpoint": server.endpoint, "max_retries": 0}


async def test_completes_for_a_declared_agent(placement: Placement, served: Served) -> None:
    async with OpenAIChatServer(Reply("Hello to you.", pause=0.01)) as server, placement(served.register) as channel:
        gathered = await ask(stub_of(channel), served.agent(at(server)))
    assert gathered.text == "Hello to you."
    assert gathered.completion.route.steps[0].chosen


async def test_a_changed_provider_holds_from_the_next_call(placement: Placement, served: Served) -> None:
    async with (
        OpenAIChatServer(Reply("First.")) as first,
        OpenAIChatServer(Reply("Second.")) as second,
        placement(served.register) as channel,
    ):
        agent = served.agent({"providerRef": "lab"})
        texts: list[str] = []
        for server in (first, second):
            served.provider("lab", {"type": "vllm", "endpoint": server.endpoint, "models": ["stub-1"]})
            texts.append((await ask(stub_of(channel), agent)).text)
    assert texts == ["First.", "Second."]


async def test_the_class_and_the_wait_of_an_error_survive(placement: Placement, served: Served) -> None:
    async with OpenAIChatServer(Refusal(429, retry_after="4")) as server, placement(served.register) as channel:
        with pytest.raises(RateLimited) as caught:
            await ask(stub_of(channel), served.agent(at(server)))
    assert caught.value.retry_after == 4.0


@pytest.mark.parametrize("kind", ["agent", "provider"])
async def test_what_does_not_exist_is_named(placement: Placement, served: Served, kind: str) -> None:
    unknown = ResourceRef(kind="Agent", namespace="default", name="ghost", sha256=b"x" * 32)
    agent = unknown if kind == "agent" else served.agent({"providerRef": "ghost"})
    async with placement(served.register) as channel:
        with pytest.raises(NotFound, match="ghost"):
            await ask(stub_of(channel), agent)


async def test_a_caller_that_leaves_stops_the_model(placement: Placement, served: Served) -> None:
    async with (
        OpenAIChatServer(Reply("one two three", pause=0.2), Hang()) as server,
        placement(served.register) as channel,
    ):
        agent = served.agent(at(server))
        request = CompleteRequest(agent=agent, messages=[user("hello")])
        for before_text in (False, True):
            call = stub_of(channel).Complete(request)
            reading = asyncio.ensure_future(anext(aiter(call)))
            if before_text:
                await server.asked(2)
                reading.cancel()
            await asyncio.wait([reading])
            call.cancel()
            async with asyncio.timeout(1):
                await server.departed(2 if before_text else 1)


async def test_checks_every_provider_of_an_agent(placement: Placement, served: Served) -> None:
    async with (
        OpenAIChatServer(models=["stub-1"]) as openai,
        OllamaServer(models=["other:latest"]) as ollama,
        placement(served.register) as channel,
    ):
        gone: dict[str, object] = {"provider": "ollama", "model": "m", "endpoint": "http://127.0.0.1:1"}
        agent = served.agent(at(openai), at(ollama), gone, {"provider": "extractive"})
        response = await stub_of(channel).CheckProviders(CheckProvidersRequest(agent=agent))
    well, lacking, away, always = response.providers
    assert (well.reachable, well.reason, list(well.models)) == (True, "", ["stub-1"])
    assert lacking.reachable
    assert "ollama pull stub-1" in lacking.reason
    assert not away.reachable
    assert "ollama serve" in away.reason
    assert always.reachable


async def test_checks_one_provider_as_it_is_now(placement: Placement, served: Served) -> None:
    async with OllamaServer(models=["m"]) as ollama, placement(served.register) as channel:
        served.provider("local", {"type": "ollama", "endpoint": ollama.endpoint, "models": ["m"]})
        now = ResourceRef(kind="Provider", namespace="default", name="local")
        response = await stub_of(channel).CheckProviders(CheckProvidersRequest(agent=now))
    (health,) = response.providers
    assert (health.endpoint, health.reachable, health.reason) == (ollama.endpoint, True, "")
