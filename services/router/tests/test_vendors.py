"""Each provider that speaks a known format, from its YAML on: asked in its own way, on servers that refuse others'."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from astromesh.v1.router_pb2 import CompleteRequest, CompleteResponse, ProviderHealth
from astromesh.v1.values_pb2 import Image, Message, Reasoning
from astromesh_core.errors import Denied, InvalidInput
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.candidates import DEFAULT_ROLE
from astromesh_router.calls import Calls
from astromesh_router.candidates import Pool
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.dialects.profiles import MODELS, PROVIDERS, profile_of
from astromesh_router.health import Health
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.openai_vendors import (
    AzureOpenAIServer,
    LlamaCppServer,
    OpenAIServer,
    TgiServer,
    VllmServer,
)
from astromesh_testing.models.replies import Call, Reply, Tokens

from .asking import ADD, KEY, Gathered, asking, called, gather, result, system, user
from .serving import Served

AGENT = """\
apiVersion: astromesh/v1
kind: Agent
metadata: {name: a}
spec:
  model:
    primary: {provider: %s, model: %s, endpoint: '%s', api_key_env: LLM_KEY, max_retries: 0%s}
"""
SCHEMA = '{"type":"object","properties":{"sum":{"type":"integer"}},"required":["sum"],"additionalProperties":false}'
LOOSE = '{"type":"object","properties":{"sum":{"type":"integer"}}}'
DATA = Image(media_type="image/png", data=text_content("aGk="))
ADDRESS = Image(url=text_content("https://example.org/cat.jpg"))
ANSWER = Reply("Forty two.", thinking="six times seven", tokens=Tokens(11, 4))


@dataclass
class Asked:
    """A router with one agent."""

    calls: Calls

    async def pool(self, text: str) -> Pool:
        served = Served(self.calls)
        return await DeclaredCandidates(served.resources).pool(served.declared(text), DEFAULT_ROLE)

    async def health(self, text: str) -> ProviderHealth:
        (health,) = await Health(self.calls.dialect).of((await self.pool(text)).candidates)
        return health

    async def __call__(self, text: str, request: CompleteRequest | None = None) -> Gathered:
        return await gather(self.calls.complete(await self.pool(text), request or asking()), Gathered())


@pytest.fixture
def ask(calls: Calls) -> Asked:
    return Asked(calls)


def yaml(provider: str, endpoint: str, model: str = "m", more: str = "") -> str:
    return AGENT % (provider, model, endpoint, more)


def structured(*messages: Message, schema: str = SCHEMA, tools: bool = False) -> CompleteRequest:
    request = asking(*messages, tools=[ADD] if tools else [])
    request.output_schema_json = schema
    return request


def azure(*script: Reply) -> AzureOpenAIServer:
    return AzureOpenAIServer(*script, key=KEY)


VENDORS: dict[str, tuple[str, Callable[..., OpenAIChatServer]]] = {
    "openai": ("/v1", OpenAIServer),
    "openai-compat": ("/v1", OpenAIChatServer),
    "openai_compat": ("/v1", OpenAIChatServer),
    "azure_openai": ("", azure),
    "vllm": ("", VllmServer),
    "llamacpp": ("", LlamaCppServer),
    "hf_tgi": ("", TgiServer),
}


@asynccontextmanager
async def serving(provider: str, *script: Reply) -> AsyncGenerator[tuple[OpenAIChatServer, str]]:
    suffix, server_class = VENDORS[provider]
    async with server_class(*script) as server:
        yield server, server.url + suffix


@pytest.mark.parametrize("provider", VENDORS)
async def test_answers_from_its_yaml_and_thinks_apart_from_it(ask: Asked, provider: str) -> None:
    async with serving(provider, ANSWER) as (server, endpoint):
        gathered = await ask(yaml(provider, endpoint))
    assert gathered.text == "Forty two."
    assert gathered.thoughts == ["six times seven"]
    message = gathered.completion.message
    assert (plain(message.content), [plain(part.text) for part in message.reasoning]) == (
        "Forty two.",
        ["six times seven"],
    )
    usage = gathered.completion.charge.usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (11, 4, False)
    key = server.requests[0].headers.get("api-key" if provider == "azure_openai" else "authorization")
    assert key == (KEY if provider == "azure_openai" else f"Bearer {KEY}")


@pytest.mark.parametrize("provider", VENDORS)
async def test_calls_tools(ask: Asked, provider: str) -> None:
    async with serving(provider, Reply(calls=(Call("add", '{"a": 1}', "c1"),))) as (server, endpoint):
        gathered = await ask(yaml(provider, endpoint), asking(tools=[ADD]))
    assert gathered.completion.finish_reason == "tool_calls"
    assert [call.name for call in gathered.completion.message.tool_calls] == ["add"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("provider", ["vllm", "llamacpp", "hf_tgi"])
@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_an_endpoint_may_end_with_the_version_or_not(ask: Asked, provider: str, path: str) -> None:
    async with VENDORS[provider][1](ANSWER) as server:
        assert (await ask(yaml(provider, server.url + path))).text == "Forty two."


@pytest.mark.parametrize("provider", ["openai_compat", "vllm", "llamacpp", "hf_tgi"])
async def test_servers_need_no_key(ask: Asked, provider: str) -> None:
    async with serving(provider, ANSWER) as (server, endpoint):
        text = yaml(provider, endpoint).replace(", api_key_env: LLM_KEY", "")
        assert (await ask(text)).text == "Forty two."
    assert "authorization" not in server.requests[0].headers


async def test_azure_is_asked_by_deployment_where_a_version_is_named(ask: Asked) -> None:
    server = AzureOpenAIServer(ANSWER, key=KEY, deployment="my%20gpt", api_version="2024-10-21")
    async with server:
        text = yaml("azure_openai", server.url, "'my gpt'", ", api_version: 2024-10-21")
        assert (await ask(text)).text == "Forty two."
        health = await ask.health(text)
        assert (health.reachable, health.reason) == (True, "")


@pytest.mark.parametrize("path", ["/openai", "/openai/v1/"])
async def test_azures_endpoint_may_be_the_whole_address(ask: Asked, path: str) -> None:
    async with azure(ANSWER) as server:
        assert (await ask(yaml("azure_openai", server.url + path))).text == "Forty two."


async def test_azure_without_its_key_is_denied(ask: Asked) -> None:
    async with azure(ANSWER) as server:
        with pytest.raises(Denied, match="azure_openai"):
            await ask(yaml("azure_openai", server.url).replace(", api_key_env: LLM_KEY", ""))


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5", "gpt-5-mini-2025-08-07", "openai/gpt-5"])
async def test_reasoning_models_get_their_own_bound_and_no_temperature(ask: Asked, model: str) -> None:
    async with OpenAIServer(ANSWER) as server:
        endpoint = f"{server.url}/v1"
        gathered = await ask(yaml("openai", endpoint, model, ", max_tokens: 100, temperature: 1"))
        assert gathered.text == "Forty two."
        assert server.requests[0].body["max_completion_tokens"] == 100
        with pytest.raises(InvalidInput, match=r"takes no temperature but 1 .*remove parameters.temperature"):
            await ask(yaml("openai", endpoint, model, ", temperature: 0.2"))
    assert len(server.requests) == 1


async def test_other_models_are_asked_as_declared(ask: Asked) -> None:
    async with OpenAIServer(ANSWER) as server:
        await ask(yaml("openai", f"{server.url}/v1", "gpt-4o", ", max_tokens: 100, temperature: 0.2"))
    body = server.requests[0].body
    assert (body["max_tokens"], body["temperature"]) == (100, 0.2)


OPENAI_FORM: dict[str, object] = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": orjson.loads(SCHEMA), "strict": True},
}
FORMS: dict[str, object] = {
    "openai": OPENAI_FORM,
    "openai_compat": OPENAI_FORM,
    "azure_openai": OPENAI_FORM,
    "vllm": OPENAI_FORM,
    "llamacpp": {"type": "json_object", "schema": orjson.loads(SCHEMA)},
    "hf_tgi": {"type": "json_object", "value": orjson.loads(SCHEMA)},
}


@pytest.mark.parametrize("provider", sorted(FORMS))
async def test_a_schema_is_asked_for_in_the_vendors_form(ask: Asked, provider: str) -> None:
    async with serving(provider, Reply('{"sum": 2}')) as (server, endpoint):
        gathered = await ask(yaml(provider, endpoint), structured())
    assert gathered.text == '{"sum": 2}'
    assert server.requests[0].body["response_format"] == FORMS[provider]
    assert server.requests[0].messages == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("provider", ["vllm", "llamacpp", "hf_tgi"])
async def test_beside_tools_a_schema_is_said_in_words_where_a_grammar_leaves_no_room(ask: Asked, provider: str) -> None:
    request = structured(system("Be brief."), user("1 + 1?"), tools=True)
    async with serving(provider, Reply('{"sum": 2}')) as (server, endpoint):
        await ask(yaml(provider, endpoint), request)
    asked = server.requests[0]
    assert "response_format" not in asked.body
    assert str(asked.messages[0]["content"]).startswith("Be brief.\n\nYour final answer must be JSON")
    assert '"sum"' in str(asked.messages[0]["content"])


async def test_openai_keeps_its_grammar_beside_tools(ask: Asked) -> None:
    async with serving("openai", Reply('{"sum": 2}')) as (server, endpoint):
        await ask(yaml("openai", endpoint), structured(tools=True))
    assert server.requests[0].body["response_format"] == OPENAI_FORM


async def test_a_schema_that_strict_mode_does_not_know_is_asked_for_without_it(ask: Asked) -> None:
    async with serving("openai", Reply("{}"), Reply("{}")) as (server, endpoint):
        await ask(yaml("openai", endpoint), structured(schema=LOOSE))
        await ask(yaml("openai", endpoint), structured(schema='{"type":"object"}'))
    loose, any_object = (request.body["response_format"] for request in server.requests)
    assert isinstance(loose, dict)
    assert loose["json_schema"]["strict"] is False
    assert any_object == {"type": "json_object"}


async def test_a_server_without_grammars_is_told_in_words(ask: Asked) -> None:
    async with serving("openai_compat", Reply('{"sum": 2}')) as (server, endpoint):
        await ask(yaml("openai_compat", endpoint, more=", parameters: {response_format: null}"), structured())
    asked = server.requests[0]
    assert "response_format" not in asked.body
    assert [message["role"] for message in asked.messages] == ["system", "user"]


async def test_deepseek_takes_json_and_the_schema_in_words(ask: Asked) -> None:
    async with serving("openai_compat", Reply('{"sum": 2}')) as (server, endpoint):
        await ask(yaml("openai_compat", endpoint, "deepseek-chat"), structured())
    asked = server.requests[0]
    assert asked.body["response_format"] == {"type": "json_object"}
    assert '"sum"' in str(asked.messages[0]["content"])


@pytest.mark.parametrize("provider", ["openai", "azure_openai", "vllm", "llamacpp", "hf_tgi"])
async def test_pictures_go_as_parts_of_the_message(ask: Asked, provider: str) -> None:
    asks = Message(role=user("").role, content=text_content("what is it?"), images=[DATA, ADDRESS])
    async with serving(provider, ANSWER) as (server, endpoint):
        await ask(yaml(provider, endpoint, more=", capabilities: {vision: true}"), asking(asks))
    assert server.requests[0].messages[0]["content"] == [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
    ]


def thought(message: Message, text: str) -> Message:
    message.reasoning.append(Reasoning(text=text_content(text)))
    return message


@pytest.mark.parametrize(
    ("provider", "model", "field"),
    [
        ("vllm", "m", "reasoning"),
        ("llamacpp", "m", "reasoning_content"),
        ("openai_compat", "deepseek-reasoner", "reasoning_content"),
        ("openai", "m", ""),
        ("hf_tgi", "m", ""),
    ],
)
async def test_the_thinking_of_this_turn_goes_back_where_the_vendor_wants_it(
    ask: Asked, provider: str, model: str, field: str
) -> None:
    request = asking(
        user("before"),
        thought(called("add", "{}", "c0"), "spent"),
        result("add", "1", "c0"),
        user("now"),
        thought(called("add", "{}", "c1"), "needed"),
        result("add", "2", "c1"),
    )
    async with serving(provider, ANSWER) as (server, endpoint):
        await ask(yaml(provider, endpoint, model), request)
    names = {"reasoning", "reasoning_content"}
    back = [{name: message[name] for name in names & message.keys()} for message in server.requests[0].messages]
    assert back == [{}, {}, {}, {}, {field: "needed"} if field else {}, {}]


async def continued(ask: Asked, text: str, prefill: str) -> str:
    (candidate,) = (await ask.pool(text)).candidates
    dialect = ask.calls.dialect(candidate)
    return "".join(
        [part async for part in dialect.stream(candidate, asking(), prefill=prefill) if isinstance(part, str)]
    )


@pytest.mark.parametrize("provider", ["vllm", "llamacpp"])
async def test_a_model_goes_on_with_the_beginning_of_an_answer(ask: Asked, provider: str) -> None:
    async with serving(provider, Reply(" two.")) as (server, endpoint):
        assert await continued(ask, yaml(provider, endpoint), "Forty") == " two."
    assert server.requests[0].messages[-1] == {"role": "assistant", "content": "Forty"}


async def test_ollama_goes_on_with_it_too(ask: Asked) -> None:
    async with OllamaServer(Reply(" two.")) as server:
        assert await continued(ask, yaml("ollama", server.url), "Forty") == " two."
    assert server.requests[0].messages[-1] == {"role": "assistant", "content": "Forty"}


async def test_tgi_is_read_though_it_marks_thinking_within_the_text(ask: Asked) -> None:
    reply = Reply("<think>\nsix times seven\n</think>\n\nForty two.", finish="eos_token")
    async with serving("hf_tgi", reply, reply) as (_, endpoint):
        gathered = await ask(yaml("hf_tgi", endpoint, "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"))
        plainly = await ask(yaml("hf_tgi", endpoint, "mistral-7b"))
    assert (gathered.text, "".join(gathered.thoughts).strip()) == ("Forty two.", "six times seven")
    assert gathered.completion.finish_reason == "stop"
    assert plainly.text.startswith("<think>")
    assert plainly.thoughts == []


@pytest.mark.parametrize("provider", ["vllm", "llamacpp", "hf_tgi"])
async def test_a_server_is_well_when_it_says_so(ask: Asked, provider: str) -> None:
    async with serving(provider) as (_, endpoint):
        health = await ask.health(yaml(provider, endpoint, "stub-1"))
    assert (health.reachable, health.reason) == (True, "")


async def test_a_server_that_loads_its_model_is_not_well_yet(ask: Asked) -> None:
    async with LlamaCppServer() as server:
        server.loading = True
        health = await ask.health(yaml("llamacpp", server.url))
    assert not health.reachable
    assert "503" in health.reason


async def test_a_server_without_a_page_for_health_is_well_when_it_lists_models(ask: Asked) -> None:
    async with OpenAIChatServer() as server:
        health = await ask.health(yaml("llamacpp", server.url, "anything"))
    assert (health.reachable, health.reason) == (True, "")


def test_every_row_names_the_page_that_it_comes_from() -> None:
    pages = [*(profile.source for profile in PROVIDERS.values()), *(row.source for row in MODELS)]
    assert all(page.startswith("https://") for page in pages)
    assert all(row.prefixes and row.providers <= PROVIDERS.keys() for row in MODELS)


async def test_the_longest_prefix_decides_and_owners_do_not(ask: Asked) -> None:
    (candidate,) = (await ask.pool(yaml("openai", "http://x", "gpt-5"))).candidates
    fixed = {
        model: bool(profile_of(replace(candidate, model=model)).fixed)
        for model in ("gpt-5", "openai/GPT-5-mini", "gpt-5-chat-latest", "gpt-5.1", "gpt-4o", "gpt-oss:20b")
    }
    assert fixed == {
        "gpt-5": True,
        "openai/GPT-5-mini": True,
        "gpt-5-chat-latest": False,
        "gpt-5.1": False,
        "gpt-4o": False,
        "gpt-oss:20b": False,
    }


def test_what_a_response_may_hold_is_known_here() -> None:
    # A new part of the contract's stream has to be gathered too.
    parts = {field.name for field in CompleteResponse.DESCRIPTOR.oneofs_by_name["part"].fields}
    assert parts == {"text_delta", "restart", "completion", "partial_charge", "reasoning_delta", "failed_route"}
