"""The `llamacpp` provider with the server of llama-cpp-python and a real GGUF: its stream, its grammar, a cancel."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import httpx
import jsonschema_rs
import orjson
import pytest

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.contents import plain
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.health import Health
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Ending, Reply

from .asking import CALLED, LOOK_UP, RESULT, asking, heard, user

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
    "required": ["ok", "kind"],
    "additionalProperties": False,
}


@pytest.fixture
def tiny(llama_server: str) -> Candidate:
    parameters = {"temperature": 0.0, "max_tokens": 24}
    return Candidate("llamacpp", "openai_compat", "tiny", llama_server, parameters, max_retries=0)


async def test_streams_and_says_the_same_at_temperature_zero(calls: Calls, tiny: Candidate) -> None:
    first = await heard(calls, asking(user("hello")), tiny)
    again = await heard(calls, asking(user("hello")), tiny)
    other = await heard(calls, asking(user("another question")), tiny)
    assert len(first.texts) > 1
    assert first.text == again.text != other.text
    short = await heard(calls, asking(user("hello")), replace(tiny, parameters={"temperature": 0.0, "max_tokens": 3}))
    assert (short.text, short.completion.finish_reason) == (first.text[: len(short.text)], "length")


async def test_its_streams_count_nothing_so_the_usage_is_an_estimate(calls: Calls, tiny: Candidate) -> None:
    usage = (await heard(calls, asking(user("hello")), tiny)).usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


async def test_keeps_to_a_schema(calls: Calls, tiny: Candidate) -> None:
    roomy = replace(tiny, parameters={"temperature": 0.0, "max_tokens": 200})
    for question in ("a", "b", "c"):
        reply = await heard(calls, asking(user(question), schema=orjson.dumps(SCHEMA).decode()), roomy)
        assert jsonschema_rs.is_valid(SCHEMA, orjson.loads(reply.text)), reply.text


async def test_calls_the_tool_that_it_has_to_by_grammar(calls: Calls, tiny: Candidate) -> None:
    choice = {"type": "function", "function": {"name": "look_up"}}
    forced = replace(tiny, parameters={"temperature": 0.0, "max_tokens": 200, "tool_choice": choice})
    reply = await heard(calls, asking(user("Where?"), tools=[LOOK_UP]), forced)
    (call,) = reply.completion.message.tool_calls
    assert (call.name, reply.completion.finish_reason) == ("look_up", "tool_calls")
    assert jsonschema_rs.is_valid(orjson.loads(LOOK_UP.parameters_json), orjson.loads(plain(call.arguments)))


async def test_goes_on_after_a_tools_result(calls: Calls, tiny: Candidate) -> None:
    reply = await heard(calls, asking(user("Where?"), CALLED, RESULT, tools=[LOOK_UP]), tiny)
    assert reply.completion.finish_reason in {"stop", "length"}


async def test_an_answer_that_another_model_began_is_begun_anew(calls: Calls, tiny: Candidate) -> None:
    async with OpenAIChatServer(Reply("one two three", ending=Ending.BREAK_OFF, after=2, pause=0.01)) as broken:
        first = Candidate("openai_compat", "openai_compat", "m", broken.endpoint, max_retries=0)
        reply = await heard(calls, asking(user("hello")), first, tiny)
    assert reply.restarts == 1
    assert reply.text == (await heard(calls, asking(user("hello")), tiny)).text


async def test_stops_generating_when_the_caller_leaves(calls: Calls, tiny: Candidate, llama_server: str) -> None:
    """The server has one model and answers one caller after the other: the next one waits for what is not stopped."""
    endless = replace(tiny, parameters={"temperature": 0.0, "max_tokens": 900, "logit_bias": NO_END})
    begun = time.monotonic()
    await heard(calls, asking(user("hello")), endless)
    whole = time.monotonic() - begun
    async with aclosing(calls.complete(Pool((endless,)), asking(user("hello")))) as responses:
        await anext(responses)
    begun = time.monotonic()
    await heard(calls, asking(user("hello")), replace(tiny, parameters={"max_tokens": 1}))
    assert time.monotonic() - begun < max(whole / 2, 0.5)


NO_END = {"258": -100.0, "256": -100.0}
"""Of the two tokens that end a reply, neither comes."""


async def test_a_reply_that_is_broken_off_for_another_caller_is_never_taken_for_whole(
    calls: Calls, tiny: Candidate
) -> None:
    long = replace(tiny, parameters={"temperature": 0.0, "max_tokens": 400, "logit_bias": NO_END})
    alone = await heard(calls, asking(user("hello")), long)
    results = await asyncio.gather(
        *(heard(calls, asking(user("hello")), long) for _ in range(3)), return_exceptions=True
    )
    whole = [each for each in results if not isinstance(each, BaseException)]
    broken = [each for each in results if isinstance(each, BaseException)]
    assert whole, "the last of them is not broken off"
    assert {each.text for each in whole} == {alone.text}
    assert all(isinstance(each, Unavailable) for each in broken)


async def test_a_prompt_beyond_its_context_is_the_requests_fault(calls: Calls, tiny: Candidate) -> None:
    with pytest.raises(InvalidInput, match=r"llamacpp tiny at .* sent nothing; .* declare context_window"):
        await heard(calls, asking(user("x" * 1200)), tiny)
    # The server may break the next reply off on the same connection, which it is about to close.
    assert (await heard(calls, asking(user("hello")), replace(tiny, max_retries=1))).text


async def test_is_well_without_a_page_for_health(calls: Calls, tiny: Candidate, llama_server: str) -> None:
    (health,) = await Health(calls.dialect).of([tiny])
    assert (health.reachable, health.reason) == (True, "")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{llama_server.removesuffix('/v1')}/health")).status_code == 404
