"""The server of llama-cpp-python, which is `llamacpp` too, in its own ways. The real one: `tests/models`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from astromesh_core.errors import InvalidInput, Unavailable
from astromesh_core.events.contents import plain
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.health import Health
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.openai_vendors import LlamaCppPythonServer
from astromesh_testing.models.replies import Call, Ending, Reply, Rubbish

from .asking import ADD, asking, called, complete, openai, result, user


def python(server: LlamaCppPythonServer) -> Candidate:
    return Candidate("llamacpp", "openai_compat", "m", server.url, max_retries=0)


async def test_a_server_of_the_kind_that_does_not_go_on_begins_anew(calls: Calls) -> None:
    async with (
        OpenAIChatServer(Reply("one two three", ending=Ending.BREAK_OFF, after=2, pause=0.01)) as broken,
        LlamaCppPythonServer(otherwise=Reply("eins zwei drei", tokens=None)) as server,
    ):
        gathered = await complete(calls, asking(), openai(broken), python(server))
    assert (gathered.voided, gathered.text) == (["one two"], "eins zwei drei")
    asked = [request.messages[-1]["role"] for request in server.requests]
    assert asked == ["assistant", "user"], "the first of them is closed before a word of it is told"


async def test_a_reply_of_no_bytes_is_the_requests_fault_and_asked_for_once(calls: Calls) -> None:
    async with LlamaCppPythonServer(Rubbish(b"", "text/event-stream")) as server:
        with pytest.raises(InvalidInput, match=r"sent nothing; .* declare context_window"):
            await complete(calls, asking(), replace(python(server), max_retries=2))
    assert len(server.requests) == 1


async def test_llama_cpp_in_python_is_read_in_its_own_ways(calls: Calls) -> None:
    request = asking(user("1 + 1?"), called("add", '{"a":1}', "c1"), result("add", "2", "c1"), tools=[ADD])
    async with LlamaCppPythonServer(Reply(calls=(Call("add", '{"a": 2}'),))) as server:
        completion = (await complete(calls, request, python(server))).completion
        health = (await Health(calls.dialect).of([python(server)]))[0]
    (call,) = completion.message.tool_calls
    assert (call.name, plain(call.arguments)) == ("add", '{"a": 2}')
    assert completion.charge.usage.estimated, "it counts nothing in a stream"
    assert health.reachable


async def test_a_reply_that_the_server_broke_off_for_another_is_not_taken_for_whole(calls: Calls) -> None:
    async with LlamaCppPythonServer(Reply("Half of it")) as server:
        server.interrupted = True
        with pytest.raises(Unavailable, match="before the reply was complete"):
            await complete(calls, asking(), python(server))
