"""The fake OpenAI server is read by the vendor's own client, faults included."""

from __future__ import annotations

import openai
import pytest

from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Drop, Ending, Refusal, Reply, Tokens


def client_of(server: OpenAIChatServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=server.endpoint, api_key="k", max_retries=0)


async def test_the_vendors_client_reads_a_whole_reply() -> None:
    reply = Reply("Look:", (Call("add", '{"a": 1}', "c1"),), Tokens(3, 2, 1))
    async with OpenAIChatServer(reply) as server, client_of(server) as client:
        whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert whole.choices[0].message.content == "Look:"
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 2)
    assert server.requests[0].last_text == "hi"


async def test_the_vendors_client_reads_a_stream_and_puts_calls_together() -> None:
    reply = Reply("Two words", (Call("add", '{"a": 1}', "c1"), Call("mul", "{}", "c2")))
    async with OpenAIChatServer(reply) as server, client_of(server) as client:
        messages = [{"role": "user", "content": "hi"}]
        async with client.chat.completions.stream(model="m", messages=messages) as stream:  # pyright: ignore[reportArgumentType] - the client's own unions are too deep to name
            final = await stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Two words"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []] == [
        ("c1", "add", '{"a": 1}'),
        ("c2", "mul", "{}"),
    ]


async def test_the_vendors_client_knows_the_error() -> None:
    async with OpenAIChatServer(Refusal(429, "slow down", retry_after="1")) as server, client_of(server) as client:
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await client.chat.completions.create(model="m", messages=[])


@pytest.mark.parametrize("fault", [Drop(), Reply("a b c", ending=Ending.BREAK_OFF, after=1)])
async def test_a_broken_connection_is_one(fault: Drop | Reply) -> None:
    async with OpenAIChatServer(fault) as server, client_of(server) as client:
        with pytest.raises(
            (openai.APIConnectionError, OSError, Exception), match=r"Connection error|peer closed|reset"
        ):
            async for _ in await client.chat.completions.create(model="m", messages=[], stream=True):
                pass


async def test_answers_by_a_function_of_the_request_once_the_script_is_used_up() -> None:
    backwards = OpenAIChatServer(Reply("first"), otherwise=lambda asked: Reply(asked.last_text[::-1]))
    async with backwards as server, client_of(server) as client:
        texts: list[str | None] = []
        for _ in range(2):
            whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "abc"}])
            texts.append(whole.choices[0].message.content)
    assert texts == ["first", "cba"]
