"""Pictures, schemas and thinking through a whole mesh: asked on a surface, recorded, replayed, answered."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import openai
import pytest

from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.openai_vendors import AzureOpenAIServer, LlamaCppServer, TgiServer, VllmServer
from astromesh_testing.models.replies import Call, Reply

from .asking import ask, events_of, proven, run_of, streamed, text_of
from .conftest import Talking
from .made_agents import made_agent

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8_000).decode()
"""Two megabytes: more than one commit of the log holds."""
SCHEMA: dict[str, object] = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
ADD = Call("add", '{"a": 20, "b": 22}', "c1")


@asynccontextmanager
async def agent(
    talking: Talking,
    endpoint: str,
    provider: str = "openai_compat",
    output_schema: dict[str, object] | None = None,
) -> AsyncGenerator[str]:
    """An agent whose model, of any provider, sees pictures."""
    primary = {"provider": provider, "model": "m", "endpoint": endpoint, "capabilities": {"vision": True}}
    schema = {} if output_schema is None else {"output_schema": output_schema}
    async with made_agent(talking, [endpoint], seconds=10.0, model={"primary": primary}, **schema) as name:
        yield name


async def test_a_picture_reaches_the_model_at_every_step_and_the_run_replays(talking: Talking) -> None:
    async with (
        OpenAIChatServer(Reply(calls=(ADD,)), Reply("A cat.")) as server,
        agent(talking, server.endpoint) as name,
    ):
        cat = {"url": "https://example.org/cat.png", "detail": "high"}
        images = [{"media_type": "image/png", "data": PICTURE}, cat]
        reply = (await ask(talking.mesh, "what is it?", agent=name, images=images)).json()
        assert reply["answer"] == "A cat."
        await proven(talking.mesh, reply["run_id"])
    assert len(server.requests) == 2
    for request in server.requests:
        (content,) = [message["content"] for message in request.messages if message["role"] == "user"]
        assert content == [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
            {"type": "image_url", "image_url": cat},
        ]


async def test_a_model_that_nobody_said_sees_is_not_asked_about_pictures(talking: Talking) -> None:
    async with OpenAIChatServer() as server, made_agent(talking, [server.endpoint]) as name:
        response = await ask(talking.mesh, "what is it?", agent=name, images=[{"url": "https://example.org/cat.png"}])
    assert response.status_code == 400
    assert "capabilities.vision" in response.json()["detail"]
    assert server.requests == []


async def test_an_agents_schema_holds_its_answers_after_one_correction(talking: Talking) -> None:
    script = (Reply(calls=(ADD,)), Reply("It is 42."), Reply('{"sum": 42}'))
    async with OpenAIChatServer(*script) as server, agent(talking, server.endpoint, output_schema=SCHEMA) as name:
        told = await streamed(talking.mesh, "20 + 22?", agent=name)
        assert text_of(told) == '{"sum": 42}'
        done = told[-1].data
        assert (done["answer"], done["data"]) == ('{"sum": 42}', {"sum": 42})
        stored = await run_of(talking.mesh, done["run_id"])
        assert stored["data"] == {"sum": 42}
        await proven(talking.mesh, done["run_id"])
    first, _, again = server.requests
    assert "response_format" in first.body
    assert "tools" not in again.body
    assert "it is no JSON" in again.last_text


async def test_an_answer_that_misses_twice_fails_the_run_and_says_why(talking: Talking) -> None:
    async with OpenAIChatServer(Reply("{}"), Reply("{}")) as server, agent(talking, server.endpoint) as name:
        response = await ask(talking.mesh, "20 + 22?", agent=name, output_schema=SCHEMA)
        assert response.status_code == 422
        assert 'the property "sum" is missing' in response.json()["detail"]
        await proven(talking.mesh, response.headers["x-run-id"])


async def test_an_openai_client_asks_for_a_schema_of_its_own(talking: Talking) -> None:
    async with OpenAIChatServer(Reply("It is 42."), Reply('{"sum": 42}')) as server:
        url = f"{talking.mesh.client.base_url}/v1"
        async with (
            agent(talking, server.endpoint) as name,
            openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
        ):
            stream = await client.chat.completions.create(
                model=name,
                messages=[{"role": "user", "content": "20 + 22?"}],
                response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}},
                stream=True,
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == '{"sum": 42}'


async def test_thinking_is_streamed_recorded_and_no_part_of_the_answer(talking: Talking) -> None:
    script = (Reply(calls=(ADD,), thinking="add them"), Reply("It is 42.", thinking="done", pause=0.02))
    async with VllmServer(*script) as server, agent(talking, server.url, provider="vllm") as name:
        told = await streamed(talking.mesh, "20 + 22?", agent=name)
        run_id = told[-1].data["run_id"]
        assert text_of(told) == told[-1].data["answer"] == "It is 42."
        assert "".join(message.data["text"] for message in told if message.name == "reasoning") == "add themdone"
        assert [step.get("reasoning") for step in told[-1].data["steps"]] == ["add them", None, "done"]
        replied = [
            event["event"] for event in await events_of(talking.mesh, run_id) if event["type"] == "model_replied"
        ]
        assert replied[0]["message"]["reasoning"][0]["text"] == {"text": "add them"}
        await proven(talking.mesh, run_id)
    (assistant,) = [message for message in server.requests[1].messages if message["role"] == "assistant"]
    assert assistant["reasoning"] == "add them"


@pytest.mark.parametrize("provider", ["azure_openai", "vllm", "llamacpp", "hf_tgi"])
async def test_each_provider_runs_an_agent(talking: Talking, provider: str) -> None:
    servers = {
        "azure_openai": AzureOpenAIServer(Reply(calls=(ADD,)), Reply("It is 42."), key=""),
        "vllm": VllmServer(Reply(calls=(ADD,)), Reply("It is 42.")),
        "llamacpp": LlamaCppServer(Reply(calls=(ADD,)), Reply("It is 42.")),
        "hf_tgi": TgiServer(Reply(calls=(ADD,)), Reply("It is 42.")),
    }
    async with servers[provider] as server, agent(talking, server.url, provider=provider) as name:
        reply = (await ask(talking.mesh, "20 + 22?", agent=name)).json()
        assert reply["answer"] == "It is 42.", reply
        await proven(talking.mesh, reply["run_id"])
