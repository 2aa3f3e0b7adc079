"""Agents as models, with the vendor's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from astromesh.v1.values_pb2 import ROLE_SYSTEM, ROLE_USER
from astromesh_testing.scripted_runtime import ScriptedRun

from .conftest import Mesh

ASK = [{"role": "user", "content": "what is 1 + 1?"}]


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"http://{mesh.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


async def test_completes_a_chat(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="agent", messages=[{"role": "user", "content": "x"}])
    assert reply.choices[0].message.content == "it is 2"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == 30
    assert reply.id == f"chatcmpl-{(await mesh.runtime.next_run()).aggregate.id}"


async def test_streams_with_usage_last(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    del mesh
    stream = await client.chat.completions.create(
        model="agent",
        messages=[{"role": "user", "content": "x"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "it is 2"
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("reply", "told"),
    [("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop"), ("", "stop")],
)
async def test_an_answer_that_was_cut_off_says_so(
    mesh: Mesh, client: openai.AsyncOpenAI, reply: str, told: str
) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        await run.reply("1", "", finish_reason="length")
        await run.begin("2")
        await run.reply("2", "it is", finish_reason=reply)
        await run.complete("it is")

    mesh.runtime.script = script
    whole = await client.chat.completions.create(model="agent", messages=[{"role": "user", "content": "x"}])
    stream = await client.chat.completions.create(
        model="agent", messages=[{"role": "user", "content": "x"}], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert whole.choices[0].finish_reason == told
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, told]


async def test_the_messages_are_the_transcript_and_memory_stays_out(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="agent",
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
        ],
    )
    requested = (await mesh.runtime.next_run()).requested
    assert requested.query.text == "and now?"
    assert [message.content.text for message in requested.transcript] == ["be brief", "hello", "hi"]
    assert [message.role for message in requested.transcript][:2] == [ROLE_SYSTEM, ROLE_USER]
    assert not requested.uses_memory


async def test_a_named_session_has_the_earlier_turns(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="agent",
        messages=[{"role": "user", "content": "hello"}, {"role": "user", "content": "again"}],
        extra_headers={"X-Astromesh-Session": "tuesday"},
    )
    requested = (await mesh.runtime.next_run()).requested
    assert (requested.session_id.text, requested.uses_memory, len(requested.transcript)) == ("tuesday", True, 0)


async def test_errors_are_the_vendors_own(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        await client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    assert unknown.value.code == "model_not_found"

    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.fail("unavailable", "no model answers")

    mesh.runtime.script = script
    with pytest.raises(openai.InternalServerError) as failed:
        await client.chat.completions.create(model="agent", messages=[{"role": "user", "content": "x"}])
    assert failed.value.status_code == 503
    assert "run_id" in str(failed.value.body)
    stream = await client.chat.completions.create(
        model="agent", messages=[{"role": "user", "content": "x"}], stream=True
    )
    with pytest.raises(openai.APIError, match="no model answers"):
        async for _ in stream:
            pass


@pytest.mark.parametrize("again", ["it is 2", "it is", "no idea", "it", ""])
async def test_a_new_attempt_goes_on_where_it_repeats_what_was_sent_and_is_an_error_where_not(
    mesh: Mesh, client: openai.AsyncOpenAI, again: str
) -> None:
    async def script(run: ScriptedRun) -> None:
        await run.start()
        await run.begin("1")
        run.tell("1", "it is", 0)
        await run.begin("1")
        if again:
            run.tell("1", again[:4], 0)
        await run.reply("1", again)
        await run.complete(again)

    mesh.runtime.script = script
    stream = await client.chat.completions.create(
        model="agent", messages=[{"role": "user", "content": "x"}], stream=True
    )
    text, failure = "", ""
    try:
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    except openai.APIError as error:
        failure = error.message
    if again.startswith("it is"):
        assert (text, failure) == (again, "")
    else:
        assert text == "it is"
        assert "another text; the whole answer stands at /v1/runs/" in failure


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": []}, 422),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400),
        ({"messages": ASK, "tools": [{"type": "function"}]}, 422),
        ({"messages": ASK, "n": 2}, 422),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 422),
    ],
)
async def test_what_an_agent_has_no_use_for_is_refused(mesh: Mesh, body: dict[str, object], status: int) -> None:
    response = await mesh.client.post("/v1/chat/completions", json={"model": "agent", **body})
    assert response.status_code == status, response.text
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["error"]["message"] == document["detail"]
    assert document["status"] == status
    assert document["type"].startswith("https://")


async def test_settings_that_the_agent_decides_are_named(mesh: Mesh) -> None:
    body = {"model": "agent", "messages": ASK, "temperature": 0.1, "max_tokens": 5}
    response = await mesh.client.post("/v1/chat/completions", json=body)
    assert response.headers["x-astromesh-without-effect"] == "temperature, max_tokens"


async def test_lists_agents_as_models(mesh: Mesh, client: openai.AsyncOpenAI) -> None:
    del mesh
    assert [model.id async for model in client.models.list()] == ["agent"]
