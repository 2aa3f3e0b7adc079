"""OpenAI chat completions over a real connection: what is asked, what is read, and what is made of bad replies."""

import re
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from astromesh_core.errors import (
    AstromeshError,
    BudgetExceeded,
    Denied,
    InvalidInput,
    NotFound,
    RateLimited,
    TimedOut,
    Unavailable,
)
from astromesh_core.events.contents import plain
from astromesh_router.calls import Calls
from astromesh_router.candidates import Prices
from astromesh_router.dialects.openai_chat import OpenAIChatDecoder
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Drop, Ending, Hang, Refusal, Reply, Rubbish, Scripted, Tokens

from .asking import ADD, KEY, SEARCH, SHORT, asking, called, complete, openai, result, system, user


async def test_streams_the_text_and_ends_with_the_completion(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("Forty two, of course.", pause=0.01, tokens=Tokens(11, 4, 3, 2))) as server:
        gathered = await complete(calls, asking(), openai(server))
    assert gathered.text == "Forty two, of course."
    assert len(gathered.texts) == 4
    completion = gathered.completion
    assert plain(completion.message.content) == gathered.text
    assert completion.finish_reason == "stop"
    usage = completion.charge.usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 4)
    assert (usage.cached_input_tokens, usage.reasoning_tokens, usage.estimated) == (3, 2, False)
    assert completion.time_to_first_token_nano > 0


async def test_asks_with_the_whole_transcript_tools_and_parameters(calls: Calls) -> None:
    request = asking(
        system("Be brief."),
        user("1+2?"),
        called("add", '{"a":1}', "call_7"),
        result("add", "3", "call_7"),
        tools=[SEARCH, ADD],
    )
    async with OpenAIChatServer() as server:
        parameters = {"temperature": 0.5, "seed": 7, "stream_options": None}
        await complete(calls, request, replace(openai(server), parameters=parameters, key="${LLM_KEY}"))
    (asked,) = server.requests
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "stub-1"
    assert asked.body["stream"] is True
    assert (asked.body["temperature"], asked.body["seed"]) == (0.5, 7)
    assert "stream_options" not in asked.body
    assert asked.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+2?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_7", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "content": "3", "tool_call_id": "call_7"},
    ]
    tools = cast("list[dict[str, Any]]", asked.body["tools"])
    assert [tool["function"]["name"] for tool in tools] == ["search_docs", "add"]
    assert tools[1]["function"]["parameters"]["properties"] == {"a": {"type": "integer"}}


async def test_gathers_tool_calls_out_of_their_fragments(calls: Calls) -> None:
    written = (Call("search_docs", '{"query": "what is a saga"}', "call_a"), Call("add", '{"a": 1}', "call_b"))
    async with OpenAIChatServer(Reply("Let me look.", written)) as server:
        gathered = await complete(calls, asking(tools=[SEARCH, ADD]), openai(server))
    completion = gathered.completion
    assert completion.finish_reason == "tool_calls"
    assert [(call.id, call.name, plain(call.arguments)) for call in completion.message.tool_calls] == [
        ("call_a", "search_docs", '{"query": "what is a saga"}'),
        ("call_b", "add", '{"a": 1}'),
    ]


async def test_calls_without_or_with_a_used_id_get_one_of_ours(calls: Calls) -> None:
    written = (Call("add"), Call("add", id="call_7"), Call("add", id="same"), Call("add", id="same"))
    request = asking(user("go"), called("add", "{}", "call_7"), result("add", "3", "call_7"), tools=[ADD], path="3.1")
    async with OpenAIChatServer(Reply(calls=written)) as server:
        gathered = await complete(calls, request, openai(server))
    ids = [call.id for call in gathered.completion.message.tool_calls]
    assert ids == ["call_3_1_1", "call_3_1_2", "same", "call_3_1_4"]


async def test_arguments_that_are_no_json_go_on_as_the_model_wrote_them(calls: Calls) -> None:
    async with OpenAIChatServer(Reply(calls=(Call("add", "{a: one", "c1"), Call("add", "", "c2")))) as server:
        gathered = await complete(calls, asking(tools=[ADD]), openai(server))
    texts = [plain(call.arguments) for call in gathered.completion.message.tool_calls]
    assert texts == ["{a: one", "{}"]


async def test_usage_that_the_provider_leaves_out_is_estimated_and_marked(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("x" * 40, tokens=None)) as server:
        gathered = await complete(calls, asking(user("y" * 400)), openai(server))
    usage = gathered.completion.charge.usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (98, 10, True)


async def test_a_price_per_token_becomes_a_cost(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("x", tokens=Tokens(1500, 500))) as server:
        gathered = await complete(calls, asking(), replace(openai(server), prices=Prices(0.002, 0.002)))
    assert gathered.completion.charge.cost_nanos == 4_000_000
    assert gathered.completion.charge.currency == "USD"


async def test_thinking_is_no_part_of_the_answer(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("Yes.", thinking="hmm, perhaps")) as server:
        gathered = await complete(calls, asking(), openai(server))
    assert gathered.text == plain(gathered.completion.message.content) == "Yes."


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_the_reason_of_the_end_is_told(calls: Calls, reason: str) -> None:
    async with OpenAIChatServer(Reply("Half a", finish=reason)) as server:
        gathered = await complete(calls, asking(), openai(server))
    assert gathered.completion.finish_reason == reason


REFUSALS: list[tuple[Refusal, type[AstromeshError], str]] = [
    (Refusal(400, "messages too long"), InvalidInput, "messages too long"),
    (Refusal(401, f"bad key {KEY}"), Denied, "LLM_KEY"),
    (Refusal(404, "no such model"), NotFound, "no such model"),
    (Refusal(408), TimedOut, ""),
    (Refusal(429, "slow down", "rate_limit_exceeded", retry_after="7"), RateLimited, "slow down"),
    (Refusal(429, "pay first", "insufficient_quota"), BudgetExceeded, "quota"),
    (Refusal(500, f"crashed with key {KEY}"), Unavailable, "[key]"),
    (Refusal(503, body=b"<html>Bad gateway"), Unavailable, "answered 503"),
    (Refusal(302, location="http://elsewhere.example/v1"), InvalidInput, "redirects"),
]


@pytest.mark.parametrize(("refusal", "kind", "said"), REFUSALS, ids=lambda value: getattr(value, "status", None))
async def test_a_refusal_says_who_where_why_and_never_the_key(
    calls: Calls, refusal: Refusal, kind: type[AstromeshError], said: str
) -> None:
    async with OpenAIChatServer(refusal) as server:
        with pytest.raises(kind) as caught:
            await complete(calls, asking(), replace(openai(server), key="${LLM_KEY}"))
        assert type(caught.value) is kind
        assert said in caught.value.message
        assert f"openai_compat stub-1 at {server.endpoint}" in caught.value.message
        assert KEY not in caught.value.message
        assert caught.value.retry_after == (7.0 if refusal.retry_after else None)


BAD: list[tuple[str, Scripted, type[AstromeshError], str]] = [
    ("a page", Rubbish(), Unavailable, "web page"),
    ("a page of events", Rubbish(b"data: hello\n\n", "text/event-stream"), Unavailable, "no JSON"),
    ("a list", Rubbish(b"data: [1]\n\n", "text/event-stream"), Unavailable, "no object"),
    ("only the end", Rubbish(b"data: [DONE]\n\n", "text/event-stream"), Unavailable, "no reply"),
    ("a hang", Hang(), TimedOut, "no first token within 0.3 s"),
    ("a drop", Drop(), Unavailable, "closed the connection without an answer"),
    ("a break", Reply("a b c d", ending=Ending.BREAK_OFF, after=2), Unavailable, "broke off"),
    ("a stop", Reply("a b c d", ending=Ending.STOP_SHORT, after=2), Unavailable, "before the reply was complete"),
    ("an error", Reply("a b c d", ending=Ending.ERROR, after=2), Unavailable, "the engine died"),
    ("rubbish", Reply("a b c d", ending=Ending.RUBBISH, after=2), Unavailable, "no JSON"),
    ("a pause", Reply("a b c d", ending=Ending.HANG, after=2), TimedOut, "nothing more within 0.3 s"),
    ("a slow one", Reply("a b c d", pause=0.25), TimedOut, "no complete reply within 0.5 s"),
]


@pytest.mark.parametrize(("reply", "kind", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_bad_reply_becomes_an_error_that_names_the_fault(
    calls: Calls, reply: Scripted, kind: type[AstromeshError], said: str
) -> None:
    script = (reply, reply) if isinstance(reply, Drop) else (reply,)
    async with OpenAIChatServer(*script) as server:
        with pytest.raises(kind, match=said):
            await complete(calls, asking(), replace(openai(server), patience=replace(SHORT, whole=0.5)))


async def test_a_kept_connection_that_was_closed_is_replaced_without_a_word(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("First."), Drop(), Reply("Here.")) as server:
        await complete(calls, asking(), openai(server))
        assert (await complete(calls, asking(), openai(server))).text == "Here."


async def test_connections_are_kept(calls: Calls) -> None:
    async with OpenAIChatServer() as server:
        for _ in range(5):
            await complete(calls, asking(), openai(server))
        assert server.connections == 1


async def test_a_key_that_is_not_set_is_named(calls: Calls) -> None:
    async with OpenAIChatServer() as server:
        with pytest.raises(InvalidInput, match="OTHER_KEY is not set"):
            await complete(calls, asking(), replace(openai(server), key="${OTHER_KEY}"))
    assert server.requests == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1/v1", "http://[::1/v1"])
async def test_an_endpoint_that_is_no_address_is_refused(calls: Calls, endpoint: str) -> None:
    async with OpenAIChatServer() as server:
        with pytest.raises(InvalidInput, match="endpoint"):
            await complete(calls, asking(), replace(openai(server), endpoint=endpoint))


def decode(*chunks: Any) -> OpenAIChatDecoder:
    decoder = OpenAIChatDecoder()
    for chunk in chunks:
        decoder.feed(b"data: %b\n\n" % orjson.dumps(chunk))
    return decoder


def test_reads_what_servers_make_of_the_format() -> None:
    decoder = decode(
        {"choices": [{"delta": {"role": "assistant", "content": [{"type": "text", "text": "Well, "}]}}]},
        {"choices": [{"delta": None}], "usage": None},
        {"choices": [{"delta": {"content": "so.", "tool_calls": None}, "finish_reason": None}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": "mul", "arguments": '{"b"'}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": ":2}"}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
        {"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None}},
    )
    reply = decoder.reply()
    assert reply.text == "Well, so."
    assert [(call.name, call.arguments) for call in reply.calls] == [("add", '{"a":1}'), ("mul", '{"b":2}')]
    assert reply.finish_reason == "tool_calls"
    assert reply.usage is not None
    assert reply.usage.input_tokens == 3


async def test_a_reply_whose_finish_reason_came_waits_a_moment_for_its_usage_and_no_longer(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("One two.", ending=Ending.HANG_AT_THE_END)) as server:
        gathered = await complete(calls, asking(), openai(server))
    assert (gathered.text, gathered.voided) == ("One two.", [])
    assert not gathered.completion.charge.usage.estimated
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("model", "longest", "shape"), [("stub-1", 40, r"[0-9a-f]{32}"), ("mistral-large-latest", 9, r"[0-9a-f]{9}")]
)
async def test_ids_of_calls_that_a_vendor_does_not_take_are_others_in_the_call_and_its_result_alike(
    calls: Calls, model: str, longest: int, shape: str
) -> None:
    foreign, own = "functions.search_the_whole_catalogue_of_products:0", "a1B2c3D4e"
    messages = [user("x")]
    for given in (foreign, own):
        messages += [called("add", "{}", given), result("add", "3", given)]
    async with OpenAIChatServer() as server:
        await complete(calls, asking(*messages), replace(openai(server), model=model))
    written = cast("list[dict[str, Any]]", server.requests[0].messages[1:])
    ids = [message.get("tool_call_id") or message["tool_calls"][0]["id"] for message in written]
    assert ids[0] == ids[1] != foreign
    assert re.fullmatch(shape, ids[0])
    assert len(ids[0]) <= longest
    assert ids[2:] == [own, own]
