"""A provider of a user's own: found by its import path, asked like any other, and named when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from astromesh_core.errors import AstromeshError, InvalidInput, RateLimited, Unavailable
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_router.app import open_calls
from astromesh_router.built_in import built_in
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.dialects.custom import CustomProviders
from astromesh_router.provider import ProviderProtocol, Reply
from astromesh_testing.models.anthropic import AnthropicServer
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply as Scripted
from astromesh_testing.models.scripted import ScriptedModelServer

from .asking import ADD, KEY, SHORT, Gathered, asking, complete, gather, no_embedder, openai, user

SHOUT = """
from astromesh_core.errors import RateLimited
from astromesh_router.provider import Reply, Thought


class Shout:
    def __init__(self, *, model, endpoint, api_key, parameters):
        self.mark = parameters.get("mark", "!")
        self.api_key = api_key

    async def complete(self, request):
        async for part in self.stream(request):
            if isinstance(part, Reply):
                return part

    async def stream(self, request):
        words = request.messages[-1].content.text.upper().split()
        yield Thought("loud")
        for word in words:
            yield word + " "
        yield Reply(" ".join(words) + " " + self.mark, (), "stop", None)

    async def health_check(self):
        return self.api_key == "KEY"

    def supports_tools(self):
        return False

    def estimated_cost(self, input_tokens, output_tokens):
        return input_tokens * 0.001 + output_tokens * 0.002


class Busy(Shout):
    async def stream(self, request):
        yield "one "
        raise RateLimited("the queue is full", retry_after=7)


class Broken(Shout):
    async def stream(self, request):
        raise ValueError("no such thing")
        yield


class Endless(Shout):
    async def stream(self, request):
        yield "a"


class Wrong(Shout):
    async def stream(self, request):
        yield 7


class Plain(Shout):
    def stream(self, request):
        return ["a"]


class Unmade:
    def __init__(self, **settings):
        raise OSError("no licence")


class Half:
    def __init__(self, **settings):
        pass

    def stream(self, request):
        yield
""".replace("KEY", KEY)


@pytest.fixture
async def custom(tmp_path: Path) -> AsyncIterator[CustomProviders]:
    (tmp_path / "loud.py").write_text(SHOUT)
    providers = CustomProviders(Modules(tmp_path), {"LLM_KEY": KEY})
    yield providers
    await providers.close()


@pytest.fixture
async def calls(custom: CustomProviders) -> AsyncIterator[Calls]:
    async with open_calls(no_embedder, {}, Telemetry(), custom=custom) as opened:
        yield opened


def named(name: str, **settings: object) -> Candidate:
    parameters = {"mark": str(settings.get("mark", "!"))}
    declared = Candidate(f"loud:{name}", "custom", "m1", "", parameters, "${LLM_KEY}", patience=SHORT, max_retries=0)
    return replace(declared, priced=False)


async def test_a_users_class_answers(calls: Calls) -> None:
    gathered = await complete(calls, asking(user("be quiet")), named("Shout", mark="?"))
    assert (gathered.texts, gathered.thoughts) == (["BE ", "QUIET ", "?"], ["loud"])
    assert gathered.completion.charge.provider == "loud:Shout"


async def test_what_a_class_says_of_itself_counts_where_nothing_is_declared(custom: CustomProviders) -> None:
    pool = await custom.introduced(Pool((named("Shout"), named("Broken"))))
    assert [(each.tools, each.prices) for each in pool.candidates] == [(False, Prices(1.0, 2.0))] * 2
    assert all(each.priced for each in pool.candidates)
    declared = replace(named("Shout"), tools=True, priced=True)
    pool = await custom.introduced(Pool((declared,)))
    assert pool.candidates == (declared,)


async def test_a_class_without_tools_is_passed_over_for_a_request_with_tools(
    calls: Calls, custom: CustomProviders
) -> None:
    async with OpenAIChatServer(Scripted("Here.")) as server:
        pool = await custom.introduced(Pool((named("Shout"), openai(server))))
        gathered = await gather(calls.complete(pool, asking(tools=[ADD])), Gathered())
    assert gathered.text == "Here."


FAULTS: list[tuple[str, type[AstromeshError], str]] = [
    ("Busy", RateLimited, "the queue is full"),
    ("Broken", Unavailable, "raised ValueError: no such thing"),
    ("Endless", Unavailable, "ended without a Reply"),
    ("Wrong", Unavailable, "yielded int"),
    ("Plain", InvalidInput, "no async generator"),
    ("Unmade", Unavailable, "raised OSError: no licence"),
    ("Half", InvalidInput, "has no complete, no health_check"),
    ("Nobody", InvalidInput, "Nobody does not exist in"),
]


@pytest.mark.parametrize(("name", "kind", "said"), FAULTS, ids=[case[0] for case in FAULTS])
async def test_a_class_that_fails_is_named(calls: Calls, name: str, kind: type[AstromeshError], said: str) -> None:
    with pytest.raises(kind, match=said) as raised:
        await complete(calls, asking(), named(name))
    assert f"loud:{name}" in str(raised.value)
    assert KEY not in str(raised.value)


async def test_a_class_that_fails_is_followed_by_the_next_candidate(calls: Calls) -> None:
    gathered = await complete(calls, asking(user("hi")), named("Busy"), named("Shout"))
    assert (gathered.text, gathered.voided) == ("HI !", ["one "])


async def test_health_is_what_the_class_says(calls: Calls, custom: CustomProviders) -> None:
    assert await custom.models(named("Shout")) == ["m1"]


async def test_an_edit_is_taken_up(calls: Calls, tmp_path: Path, custom: CustomProviders) -> None:
    modules = Modules(tmp_path, seconds=iter(float(second) for second in range(1_000)).__next__)
    providers = CustomProviders(modules, {"LLM_KEY": KEY})
    async with open_calls(no_embedder, {}, Telemetry(), custom=providers) as opened:
        assert (await complete(opened, asking(user("hi")), named("Shout"))).text == "HI !"
        (tmp_path / "loud.py").write_text(SHOUT.replace("upper()", "lower()") + "\n")
        assert (await complete(opened, asking(user("Hi")), named("Shout"))).text == "hi !"
    await providers.close()


SERVERS: list[tuple[str, type[ScriptedModelServer]]] = [
    ("ollama", OllamaServer),
    ("openai", OpenAIChatServer),
    ("openai_compat", OpenAIChatServer),
    ("azure_openai", OpenAIChatServer),
    ("vllm", OpenAIChatServer),
    ("llamacpp", OpenAIChatServer),
    ("hf_tgi", OpenAIChatServer),
    ("anthropic", AnthropicServer),
]


@pytest.mark.parametrize(("provider", "server"), SERVERS, ids=[case[0] for case in SERVERS])
async def test_every_built_in_provider_satisfies_the_protocol(provider: str, server: type[ScriptedModelServer]) -> None:
    async with server(Scripted("Here."), models=["m"]) as running:
        if provider == "azure_openai":
            running.chat_path = "/openai/v1/chat/completions"
        endpoint = running.url if provider in {"ollama", "anthropic", "azure_openai"} else f"{running.url}/v1"
        model = built_in(provider, model="m", endpoint=endpoint, prices=Prices(1.0, 2.0))
        assert isinstance(model, ProviderProtocol)
        reply = await model.complete(asking())
        assert isinstance(reply, Reply)
        assert reply.text == "Here."
        assert model.estimated_cost(1000, 1000) == 3.0
        assert model.supports_tools()
        await model.close()


async def test_the_extractive_provider_satisfies_the_protocol_too() -> None:
    model = built_in("extractive", model="extractive")
    assert isinstance(model, ProviderProtocol)
    assert "I can only quote" in (await model.complete(asking())).text
    assert await model.health_check()


async def test_what_is_not_built_in_is_named() -> None:
    with pytest.raises(InvalidInput, match="no built-in provider"):
        built_in("olama", model="m")
