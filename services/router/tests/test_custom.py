"""A provider of a user's own: found by its import path, asked like any other, and named when it fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from astromesh_core.errors import AstromeshError, InvalidInput, RateLimited, Unavailable
from astromesh_router.built_in import built_in
from astromesh_router.calls import Calls
from astromesh_router.candidates import Pool, Prices
from astromesh_router.dialects.custom import CustomProviders
from astromesh_router.health import Health
from astromesh_router.provider import ProviderProtocol, Reply
from astromesh_testing.models.anthropic import AnthropicServer
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Reply as Scripted
from astromesh_testing.models.scripted import ScriptedModelServer

from .asking import ADD, KEY, Gathered, asking, complete, gather, openai, user
from .users_classes import named


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
    ("Broken", Unavailable, r"raised ValueError \(no such thing\)"),
    ("Endless", Unavailable, "ended without a Reply"),
    ("Wrong", Unavailable, "yielded int"),
    ("Plain", InvalidInput, "no async generator"),
    ("Unmade", Unavailable, r"raised OSError \(no licence\)"),
    ("Leaky", Unavailable, r"no route to https://host/\?key=\[key\]"),
    ("Own", RateLimited, r"loud:Own m1: "),
    ("Quitter", Unavailable, "raised CancelledError"),
    ("Loose", InvalidInput, "a Reply with a wrong calls, finish_reason, usage"),
    ("Half", InvalidInput, "has no complete, no health_check"),
    ("Nobody", InvalidInput, "Nobody does not exist in"),
]


@pytest.mark.parametrize(("name", "kind", "said"), FAULTS, ids=[case[0] for case in FAULTS])
async def test_a_class_that_fails_is_named(calls: Calls, name: str, kind: type[AstromeshError], said: str) -> None:
    with pytest.raises(kind, match=said) as raised:
        await complete(calls, asking(), named(name))
    assert f"loud:{name}" in str(raised.value)
    assert KEY not in str(raised.value)


async def test_a_route_quotes_no_class(calls: Calls) -> None:
    gathered = await complete(calls, asking(user("hi")), named("Leaky"), named("Unmade"), named("Own"), named("Shout"))
    reasons = [step.reason for step in gathered.completion.route.steps[:3]]
    assert reasons == ["raised OSError", "raised OSError", "failed: rate-limited"]


async def test_what_a_class_does_as_it_ends_changes_no_answer_and_no_request(calls: Calls) -> None:
    request = asking(user("hi"))
    assert (await complete(calls, request, named("Messy"))).text == "Done."
    assert len(request.messages) == 1


async def test_a_class_that_fails_is_followed_by_the_next_candidate(calls: Calls) -> None:
    gathered = await complete(calls, asking(user("hi")), named("Busy"), named("Shout"))
    assert (gathered.text, gathered.voided) == ("HI !", ["one "])


async def test_health_is_what_the_class_says_of_whatever_model(calls: Calls, custom: CustomProviders) -> None:
    candidates = [
        named("Shout"),
        replace(named("Shout"), model="m2"),
        replace(named("Shout"), key=None),
        named("Unsure"),
    ]
    well, also, unwell, unsure = await Health(calls.dialect).of(candidates)
    assert [each.reason for each in (well, also)] == ["", ""]
    assert "its health_check says that it is not well" in unwell.reason
    assert "raised ValueError (who knows)" in unsure.reason


async def test_a_class_that_cannot_say_what_it_costs_has_no_price(calls: Calls, custom: CustomProviders) -> None:
    pool = await custom.introduced(Pool((named("Unsure"),)))
    (unsure,) = pool.candidates
    assert (unsure.tools, unsure.priced) == (None, False)
    assert (await gather(calls.complete(pool, asking(user("hi"))), Gathered())).text == "HI !"


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
