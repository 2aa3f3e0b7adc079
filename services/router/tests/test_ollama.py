"""Ollama's chat over a real connection: what is asked, what is read, and what is made of bad replies."""

from dataclasses import replace

import orjson
import pytest

from astromesh.v1.values_pb2 import ROLE_USER, Image, Message
from astromesh_core.errors import AstromeshError, InvalidInput, NotFound, TimedOut, Unavailable
from astromesh_core.events.contents import plain, text_content
from astromesh_router.calls import Calls
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.replies import Call, Ending, Hang, Refusal, Reply, Rubbish, Scripted, Tokens

from .asking import ADD, asking, called, complete, ollama, result, user


async def test_streams_the_text_and_ends_with_the_completion(calls: Calls) -> None:
    async with OllamaServer(Reply("Forty two, of course.", pause=0.01, tokens=Tokens(11, 4), thinking="hm")) as server:
        gathered = await complete(calls, asking(), ollama(server))
    assert len(gathered.texts) == 4
    assert gathered.thoughts == ["hm"]
    completion = gathered.completion
    assert [plain(part.text) for part in completion.message.reasoning] == ["hm"]
    assert plain(completion.message.content) == gathered.text == "Forty two, of course."
    assert completion.finish_reason == "stop"
    assert completion.charge.provider == "ollama"
    assert (completion.charge.usage.input_tokens, completion.charge.usage.output_tokens) == (11, 4)


async def test_asks_in_ollamas_own_words(calls: Calls) -> None:
    request = asking(user("1+2?"), called("add", '{"a":1}', "c1"), result("add", "3", "c1"), tools=[ADD])
    parameters = {"temperature": 0.2, "max_tokens": 50, "think": False, "options": {"num_ctx": 8192}}
    async with OllamaServer() as server:
        await complete(calls, request, replace(ollama(server), parameters=parameters))
    (asked,) = server.requests
    assert asked.body["options"] == {"num_ctx": 8192, "temperature": 0.2, "num_predict": 50}
    assert asked.body["think"] is False
    assert asked.messages[1:] == [
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "3", "tool_name": "add"},
    ]


async def test_calls_come_whole_and_get_ids(calls: Calls) -> None:
    written = (Call("add", '{"a": 1, "b": 1.0}'), Call("add", "not json"))
    async with OllamaServer(Reply(calls=written)) as server:
        gathered = await complete(calls, asking(tools=[ADD], path="2"), ollama(server))
    completion = gathered.completion
    assert completion.finish_reason == "tool_calls"
    assert [(call.id, plain(call.arguments)) for call in completion.message.tool_calls] == [
        ("call_2_1", '{"a":1,"b":1.0}'),
        ("call_2_2", "not json"),
    ]


async def test_a_cut_reply_says_so_and_missing_counts_are_estimated(calls: Calls) -> None:
    async with OllamaServer(Reply("Half a", finish="length", tokens=None)) as server:
        completion = (await complete(calls, asking(), ollama(server))).completion
    assert completion.finish_reason == "length"
    assert completion.charge.usage.estimated


SCHEMA = '{"type":"object","properties":{"sum":{"type":"integer"}}}'


async def test_a_schema_is_the_format_and_beside_tools_it_is_said_in_words(calls: Calls) -> None:
    plainly, with_tools, any_object = asking(), asking(tools=[ADD]), asking()
    plainly.output_schema_json = with_tools.output_schema_json = SCHEMA
    any_object.output_schema_json = '{"type":"object"}'
    async with OllamaServer(Reply("{}"), Reply("{}"), Reply("{}")) as server:
        for request in (plainly, with_tools, any_object):
            await complete(calls, request, ollama(server))
    formats = [request.body.get("format") for request in server.requests]
    assert formats == [orjson.loads(SCHEMA), None, "json"]
    assert [message["role"] for message in server.requests[0].messages] == ["user"]
    assert SCHEMA in str(server.requests[1].messages[0]["content"])


async def test_pictures_go_as_data_and_an_address_is_refused_with_advice(calls: Calls) -> None:
    data = Message(role=ROLE_USER, content=text_content("what is it?"), images=[Image(media_type="image/png")])
    data.images[0].data.text = "aGk="
    address = Message(role=ROLE_USER, content=text_content("and this?"), images=[Image()])
    address.images[0].url.text = "https://example.org/cat.png"
    async with OllamaServer() as server:
        seeing = replace(ollama(server), vision=True)
        await complete(calls, asking(data), seeing)
        with pytest.raises(
            InvalidInput, match=r"takes pictures as data, not by their address; send the picture itself"
        ):
            await complete(calls, asking(address), seeing)
    (asked,) = server.requests
    assert asked.messages == [{"role": "user", "content": "what is it?", "images": ["aGk="]}]


async def test_the_thinking_of_this_turn_goes_back(calls: Calls) -> None:
    spent, needed = called("add", "{}", "c0"), called("add", "{}", "c1")
    for message, text in ((spent, "spent"), (needed, "needed")):
        message.reasoning.add(text=text_content(text))
    request = asking(user("a"), spent, result("add", "1", "c0"), user("b"), needed, result("add", "2", "c1"))
    async with OllamaServer() as server:
        await complete(calls, request, ollama(server))
    assert [message.get("thinking") for message in server.requests[0].messages] == [None] * 4 + ["needed", None]


BAD: list[tuple[str, Scripted, type[AstromeshError], str]] = [
    ("no model", Refusal(404, "model 'llama' not found"), NotFound, "model 'llama' not found"),
    ("a page", Rubbish(), Unavailable, "web page"),
    ("nothing", Rubbish(b"", "application/x-ndjson"), Unavailable, "before the reply was complete"),
    ("a hang", Hang(), TimedOut, "no first token"),
    ("a break", Reply("a b c d", ending=Ending.BREAK_OFF, after=2), Unavailable, "broke off"),
    ("a stop", Reply("a b c d", ending=Ending.STOP_SHORT, after=2), Unavailable, "before the reply was complete"),
    ("an error", Reply("a b c d", ending=Ending.ERROR, after=2), Unavailable, "the runner stopped"),
    ("rubbish", Reply("a b c d", ending=Ending.RUBBISH, after=2), Unavailable, "no JSON"),
]


@pytest.mark.parametrize(("reply", "kind", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
async def test_a_bad_reply_becomes_an_error_that_names_the_fault(
    calls: Calls, reply: Scripted, kind: type[AstromeshError], said: str
) -> None:
    async with OllamaServer(reply) as server:
        with pytest.raises(kind, match=said):
            await complete(calls, asking(), ollama(server))
