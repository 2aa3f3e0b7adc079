"""The stub for benchmarks runs as a process of its own and answers as a model with tools would."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from astromesh_testing.models.stub import TEXT

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "note": {"type": "string"}, "more": {"type": "object"}},
    "required": ["a", "note"],
}
ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "add", "description": "Adds", "parameters": SCHEMA},
}
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "1+2?"}]


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "astromesh_testing.models.stub", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    async with openai.AsyncOpenAI(base_url=line.split()[-1], api_key="none", max_retries=0) as opened:
        yield opened
    process.terminate()
    await process.communicate()


@pytest.mark.parametrize("streamed", [True, False])
async def test_calls_the_tool_then_answers_in_text(client: openai.AsyncOpenAI, streamed: bool) -> None:
    call = await ask(client, QUESTION, streamed)
    assert call == ("", [("add", '{"a":1,"note":"stub"}')], "tool_calls")
    answered: list[ChatCompletionMessageParam] = [
        *QUESTION,
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]
    assert await ask(client, answered, streamed) == (TEXT, [], "stop")
    assert (await ask(client, [*answered, *QUESTION], streamed))[2] == "tool_calls"


async def ask(
    client: openai.AsyncOpenAI, messages: list[ChatCompletionMessageParam], streamed: bool
) -> tuple[str, list[tuple[str, str]], str]:
    """Text, calls and finish reason, with the usage checked."""
    if not streamed:
        whole = await client.chat.completions.create(model="stub-1", messages=messages, tools=[ADD])
        assert whole.usage is not None
        choice = whole.choices[0]
        functions = [call.function for call in choice.message.tool_calls or [] if call.type == "function"]
        return choice.message.content or "", [(f.name, f.arguments) for f in functions], choice.finish_reason
    text, calls, finish, used = "", list[tuple[str, str]](), "", False
    stream = await client.chat.completions.create(
        model="stub-1", messages=messages, tools=[ADD], stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        used = used or chunk.usage is not None
        for choice in chunk.choices:
            text += choice.delta.content or ""
            parts = [call.function for call in choice.delta.tool_calls or [] if call.function]
            calls += [(part.name or "", part.arguments or "") for part in parts]
            finish = choice.finish_reason or finish
    assert used
    return text, calls, finish


async def test_lists_its_model(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["stub-1"]
