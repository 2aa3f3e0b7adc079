"""Anthropic's Messages API: what is asked, what is read, and which faults are named."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Image, Message, Reasoning
from astromesh_core.errors import BudgetExceeded, Denied, InvalidInput, RateLimited, TimedOut, Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.anthropic import AnthropicDecoder
from astromesh_router.dialects.decoding import Malformed, Reported
from astromesh_router.failures import reported
from astromesh_router.health import Health
from astromesh_testing.models.anthropic import SIGNATURE, AnthropicServer, blocks, end, event, failure, pieces, start
from astromesh_testing.models.replies import Call, Ending, Refusal, Reply, Tokens

from .asking import ADD, KEY, SEARCH, SHORT, asking, called, complete, result, system, user

THINKING = Reply("It is 5. ", (Call("add", '{"a": 2}', "toolu_1"),), Tokens(9, 4, cached=3), thinking="2 and 3 make 5")


def claude(server: AnthropicServer, model: str = "claude-opus-5-5") -> Candidate:
    return Candidate(
        "anthropic", "anthropic", model, server.endpoint, key="${LLM_KEY}", patience=SHORT, max_retries=0, vision=True
    )


async def test_text_thinking_and_calls_come_as_they_stream(calls: Calls) -> None:
    async with AnthropicServer(THINKING) as server:
        gathered = await complete(calls, asking(tools=[ADD]), claude(server))
    completion = gathered.completion
    assert gathered.text == plain(completion.message.content) == "It is 5. "
    (thought,) = completion.message.reasoning
    assert (plain(thought.text), thought.signature) == ("2 and 3 make 5", SIGNATURE)
    (call,) = completion.message.tool_calls
    assert (call.id, call.name, plain(call.arguments)) == ("toolu_1", "add", '{"a": 2}')
    usage = completion.charge.usage
    assert (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens, usage.estimated) == (9, 3, 4, False)
    assert completion.finish_reason == "tool_calls"


async def test_a_transcript_is_written_as_the_api_takes_it(calls: Calls) -> None:
    thought = Reasoning(text=text_content("search first"), signature="sig-1")
    asked = called("search_docs", '{"query":"x"}', "toolu_1")
    asked.reasoning.append(thought)
    pictured = Message(role=ROLE_USER, content=text_content("what is it?"))
    pictured.images.append(Image(media_type="image/png", data=text_content("aGk=")))
    pictured.images.append(Image(url=text_content("https://example.org/a.png")))
    answers = [result("search_docs", "found", "toolu_1"), result("search_docs", "more", "toolu_2")]
    async with AnthropicServer(Reply("Yes.")) as server:
        await complete(calls, asking(system("Be kind."), pictured, asked, *answers, tools=[SEARCH]), claude(server))
        body, headers = server.requests[0].body, server.requests[0].headers
    assert (headers["x-api-key"], "authorization" in headers) == (KEY, False)
    assert (body["system"], body["max_tokens"]) == ("Be kind.", 32_000)
    assert [message["role"] for message in server.requests[0].messages] == ["user", "assistant", "user"]
    question, call, results = (message["content"] for message in server.requests[0].messages)
    assert question == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "what is it?"},
    ]
    assert call == [
        {"type": "thinking", "thinking": "search first", "signature": "sig-1"},
        {"type": "tool_use", "id": "toolu_1", "name": "search_docs", "input": {"query": "x"}},
    ]
    assert results == [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "more"},
    ]


async def test_a_run_that_another_vendor_began_goes_on_here(calls: Calls) -> None:
    """Ids of another shape, blanks beside a call, a tool that says nothing: the server refuses them as the API does."""
    begun = called("search_docs", '{"query":"x"}', "functions.search_docs:0")
    begun.content.text = "\n\n"
    transcript = [user("find it"), begun, result("search_docs", " ", "functions.search_docs:0")]
    async with AnthropicServer(Reply("Found.")) as server:
        assert (await complete(calls, asking(*transcript, tools=[SEARCH]), claude(server))).text == "Found."
        (call,), (answer,) = (blocks(message) for message in server.requests[0].messages[1:])
    assert call["id"] == answer["tool_use_id"]
    assert "content" not in answer


async def test_a_model_thinks_only_where_it_began_the_turn_with_a_thought(calls: Calls) -> None:
    thoughtless, thoughtful = called("add", "{}", "toolu_1"), called("add", "{}", "toolu_1")
    thoughtful.reasoning.append(Reasoning(text=text_content("add"), signature="sig-1"))
    further = called("add", "{}", "toolu_2")
    told, more = result("add", "5", "toolu_1"), result("add", "6", "toolu_2")
    async with AnthropicServer(otherwise=Reply("Yes.")) as server:
        thinker = replace(claude(server), parameters={"thinking": {"type": "enabled", "budget_tokens": 8000}})
        await complete(calls, asking(user("hi"), thoughtless, told, tools=[ADD]), thinker)
        await complete(calls, asking(user("hi"), thoughtful, told, further, more, tools=[ADD]), thinker)
        await complete(calls, asking(user("hi"), thoughtless, told, user("and?"), tools=[ADD]), thinker)
        thinks = ["thinking" in request.body for request in server.requests]
    assert thinks == [False, True, True]


async def test_thinking_leaves_room_for_the_answer(calls: Calls) -> None:
    async with AnthropicServer(otherwise=Reply("Yes.")) as server:
        thinker = replace(claude(server), parameters={"thinking": {"type": "enabled", "budget_tokens": 8000}})
        await complete(calls, asking(), thinker)
        await complete(calls, asking(), replace(thinker, parameters={**thinker.parameters, "max_tokens": 9000}))
        assert [request.body["max_tokens"] for request in server.requests] == [8000 + 32_000, 9000]
        with pytest.raises(InvalidInput, match="budget_tokens"):
            await complete(calls, asking(), replace(thinker, parameters={**thinker.parameters, "max_tokens": 8000}))


async def test_pictures_that_a_tool_brings_are_shown(calls: Calls) -> None:
    pictured = result("search_docs", "a chart", "toolu_1")
    pictured.images.append(Image(media_type="image/png", data=text_content("aGk=")))
    asked = called("search_docs", "{}", "toolu_1")
    async with AnthropicServer(Reply("Yes.")) as server:
        await complete(calls, asking(user("hi"), asked, pictured, tools=[SEARCH]), claude(server))
        (answer,) = blocks(server.requests[0].messages[-1])
    assert answer["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "text", "text": "a chart"},
    ]


async def test_thinking_of_an_earlier_turn_stays_behind(calls: Calls) -> None:
    earlier = Message(role=ROLE_ASSISTANT, content=text_content("Hello."))
    earlier.reasoning.append(Reasoning(text=text_content("greet"), signature="sig-0"))
    async with AnthropicServer(Reply("Yes.")) as server:
        await complete(calls, asking(user("hi"), earlier, user("well?")), claude(server))
        assert server.requests[0].messages[1]["content"] == [{"type": "text", "text": "Hello."}]


CLOSED = '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'
OPEN = '{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}'


@pytest.mark.parametrize(
    ("model", "schema", "by_grammar"),
    [("claude-opus-5-5", CLOSED, True), ("claude-opus-5-5", OPEN, False), ("claude-3-haiku-20240307", CLOSED, False)],
)
async def test_a_schema_is_asked_for_by_grammar_where_it_can_be(
    calls: Calls, model: str, schema: str, by_grammar: bool
) -> None:
    request = asking()
    request.output_schema_json = schema
    async with AnthropicServer(Reply('{"a": 1}')) as server:
        await complete(calls, request, claude(server, model))
        body = server.requests[0].body
    assert ("output_config" in body) is by_grammar
    assert ("JSON Schema" in str(body.get("system", ""))) is not by_grammar


async def test_a_schema_stands_beside_what_else_an_agent_sets_of_the_output(calls: Calls) -> None:
    request = asking()
    request.output_schema_json = CLOSED
    async with AnthropicServer(otherwise=Reply('{"a": 1}')) as server:
        careful = replace(claude(server), parameters={"output_config": {"effort": "low"}})
        await complete(calls, request, careful)
        await complete(calls, request, replace(careful, parameters={"output_config": {"format": {"type": "x"}}}))
        await complete(calls, request, replace(careful, parameters={"output_config": None}))
        beside, own, none = (request.body for request in server.requests)
    config = beside["output_config"]
    assert isinstance(config, dict)
    assert (config["effort"], config["format"]["type"], "system" in beside) == ("low", "json_schema", False)
    assert own["output_config"] == {"format": {"type": "x"}}
    assert "output_config" not in none
    assert "JSON Schema" in str(own["system"])
    assert "JSON Schema" in str(none["system"])


async def test_an_older_model_goes_on_where_another_broke_off(calls: Calls) -> None:
    broken = Reply("The answer is five.", ending=Ending.BREAK_OFF, after=3)
    async with AnthropicServer(broken) as first, AnthropicServer(Reply(" five.")) as second:
        gathered = await complete(calls, asking(), claude(first), claude(second, "claude-3-5-haiku-latest"))
        assert second.requests[0].messages[-1] == {"role": "assistant", "content": "The answer is"}
    assert (gathered.text, gathered.voided) == ("The answer is five.", [])


async def test_a_newer_model_starts_over(calls: Calls) -> None:
    broken = Reply("The answer is five.", ending=Ending.BREAK_OFF, after=3)
    async with AnthropicServer(broken) as first, AnthropicServer(Reply("Five.")) as second:
        gathered = await complete(calls, asking(), claude(first), claude(second))
    assert (gathered.text, gathered.voided) == ("Five.", ["The answer is"])


FAULTS = [
    (Refusal(401, f"invalid x-api-key {KEY}", "authentication_error"), Denied, "check"),
    (Refusal(429, "slow down", "rate_limit_error", retry_after="7"), RateLimited, "answered 429"),
    (Refusal(529, "Overloaded", "overloaded_error"), Unavailable, "answered 529"),
    (Refusal(402, "no credit", "billing_error"), BudgetExceeded, "its credit is spent"),
    (Refusal(400, "messages: at least one message is required", "invalid_request_error"), InvalidInput, "at least one"),
    (Reply("a b c d", ending=Ending.ERROR, after=2), Unavailable, "the engine died"),
    (Reply("a b c d", ending=Ending.STOP_SHORT, after=2), Unavailable, "before the reply was complete"),
    (Reply("a b c d", ending=Ending.RUBBISH, after=2), Unavailable, "no JSON"),
]


@pytest.mark.parametrize(("fault", "kind", "said"), FAULTS, ids=[case[2] for case in FAULTS])
async def test_a_fault_is_named_without_the_key(
    calls: Calls, fault: Refusal | Reply, kind: type[Exception], said: str
) -> None:
    async with AnthropicServer(fault) as server:
        with pytest.raises(kind, match=said) as raised:
            await complete(calls, asking(), claude(server))
    assert KEY not in str(raised.value)
    assert "anthropic claude-opus-5-5" in str(raised.value)


async def test_a_bound_on_the_reply_is_the_agents(calls: Calls) -> None:
    async with AnthropicServer(Reply("Yes.")) as server:
        await complete(calls, asking(), replace(claude(server), parameters={"max_tokens": 64, "top_k": 5}))
        body = server.requests[0].body
    assert (body["max_tokens"], body["top_k"]) == (64, 5)


@pytest.mark.parametrize("model", ["claude-3-haiku-20240307", "some-other-model"])
async def test_a_model_of_which_little_is_known_is_bound_to_what_every_model_can(calls: Calls, model: str) -> None:
    async with AnthropicServer(Reply("Yes.")) as server:
        await complete(calls, asking(), claude(server, model))
        assert server.requests[0].body["max_tokens"] == 4096


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-opus-4-6"])
async def test_a_model_is_offered_by_its_version_and_by_the_name_that_stands_for_it(calls: Calls, model: str) -> None:
    listed = [*(f"claude-{number}" for number in range(30)), "claude-sonnet-4-5-20250929", "claude-opus-4-6"]
    async with AnthropicServer(models=listed) as server:
        (health,) = await Health(calls.dialect).of([claude(server, model)])
        (unknown,) = await Health(calls.dialect).of([claude(server, "claude-sonet-4-5")])
    assert (health.reachable, health.reason) == (True, "")
    assert unknown.reason == "the model claude-sonet-4-5 is not offered"


def test_a_server_that_counts_nothing_has_reported_no_usage() -> None:
    decoder = AnthropicDecoder()
    decoder.feed(event({"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}}))
    decoder.feed(event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 0}}))
    assert decoder.reply().usage is None


WHOLE = start("m", THINKING) + b"".join([*pieces(THINKING), *end(THINKING)])


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_any_cut_of_the_bytes_reads_the_same(cuts: list[int]) -> None:
    decoder = AnthropicDecoder()
    edges = [0, *sorted(cuts), len(WHOLE)]
    said = [delta for begin, end in pairwise(edges) for delta in decoder.feed(WHOLE[begin:end])]
    assert "".join(delta for delta in said if isinstance(delta, str)) == "It is 5. "
    assert decoder.reply().text == "It is 5. "


NAMES = ("index", "content_block", "delta", "usage", "error", "message", "text", "input", "partial_json", "signature")
ANYTHING = st.recursive(
    st.none() | st.integers(-(2**62), 2**62) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from((*NAMES, "type")), inner, max_size=4),
)
KINDS = ("message_start", "content_block_start", "content_block_delta", "message_delta", "error", "message_stop")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), ANYTHING)), max_size=5))
def test_rubbish_is_malformed_and_nothing_else(events: list[tuple[str, dict[str, object]]]) -> None:
    decoder = AnthropicDecoder()
    try:
        for kind, body in events:
            decoder.feed(event({**body, "type": kind}))
        decoder.reply()
    except (Malformed, Reported):
        pass


@pytest.mark.parametrize(
    ("word", "kind", "said", "blamed"),
    [
        ("overloaded_error", Unavailable, "answered 529", True),
        ("api_error", Unavailable, "answered 500", True),
        ("timeout_error", TimedOut, "answered 504", True),
        ("billing_error", BudgetExceeded, "its credit is spent", False),
        ("request_too_large", InvalidInput, "answered 413", False),
        ("rate_limit_error", RateLimited, "answered 429", False),
        ("a word of tomorrow", Unavailable, "reported an error in mid-reply", True),
    ],
)
async def test_an_error_in_mid_stream_is_what_its_word_means(
    calls: Calls, word: str, kind: type[Exception], said: str, blamed: bool
) -> None:
    reply = Reply("a b c d", ending=Ending.ERROR, after=2, error=word)
    async with AnthropicServer(reply) as server:
        with pytest.raises(kind, match=said):
            await complete(calls, asking(), claude(server))
        assert reported(claude(server), "", word).blames_endpoint is blamed


def test_an_error_event_says_what_the_vendor_said() -> None:
    with pytest.raises(Reported, match="busy"):
        AnthropicDecoder().feed(event(failure("overloaded_error", "busy")))


async def test_a_reply_whose_stop_reason_came_waits_a_moment_for_its_end_and_no_longer(calls: Calls) -> None:
    async with AnthropicServer(Reply("One two.", ending=Ending.HANG_AT_THE_END)) as server:
        gathered = await complete(calls, asking(), claude(server))
    assert (gathered.text, gathered.voided, len(server.requests)) == ("One two.", [], 1)
