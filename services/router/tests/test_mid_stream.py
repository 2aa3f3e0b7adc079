"""A stream that dies: what the user has read and the final message are one text, to the character; it is paid for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.router_pb2 import Asked, CompleteRequest
from astromesh_core.errors import Unavailable
from astromesh_core.events.contents import plain
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.dialects.port import Part, Reply, Thought
from astromesh_router.failures import failed
from astromesh_testing.models.continuing import continuing
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Call, Ending, Refusal, Tokens
from astromesh_testing.models.replies import Reply as Answer

from .asking import ADD, SHORT, Gathered, asking, complete, gather, openai
from .governing import Recorder
from .test_continuing import TEXTS

TEXT = "Der Käse 🧀 kommt  aus\nZürich, und er heißt Emmentaler."
DEAR = Prices(1.0, 2.0)


def broken(text: str = TEXT, after: int = 4, ending: Ending = Ending.BREAK_OFF) -> Answer:
    return Answer(text, ending=ending, after=after, pause=0.01)


def goes_on(server: OpenAIChatServer) -> Candidate:
    """A model of a vendor whose models go on with a beginning."""
    return Candidate("vllm", "openai_compat", "stub-2", server.url, patience=SHORT, max_retries=0)


def told(gathered: Gathered) -> str:
    """What the user sees at the end, which the final message has to hold."""
    assert gathered.text == plain(gathered.completion.message.content)
    return gathered.text


@pytest.mark.parametrize("ending", [Ending.BREAK_OFF, Ending.HANG, Ending.STOP_SHORT, Ending.ERROR, Ending.RUBBISH])
@pytest.mark.parametrize("after", [1, 2, 5, 8])
async def test_the_next_model_goes_on_where_the_stream_died(calls: Calls, ending: Ending, after: int) -> None:
    async with (
        OpenAIChatServer(broken(after=after, ending=ending)) as first,
        OpenAIChatServer(otherwise=continuing(Answer(TEXT))) as second,
    ):
        gathered = await complete(calls, asking(), openai(first), goes_on(second))
    assert told(gathered) == TEXT
    assert gathered.voided == []
    (asked,) = second.requests
    assert asked.messages[-1] == {"role": "assistant", "content": asked.last_text}
    assert TEXT.startswith(asked.last_text)
    assert gathered.completion.route.steps[-1].reason == "declared as number 2; went on with the text so far"
    assert asked.body["continue_final_message"] is True


async def test_a_model_that_cannot_go_on_takes_the_text_back_with_its_first_word(calls: Calls) -> None:
    async with OpenAIChatServer(broken()) as first, OpenAIChatServer(Answer("Another one.")) as second:
        gathered = await complete(calls, asking(), openai(first), openai(second))
    assert told(gathered) == "Another one."
    assert gathered.voided == ["Der Käse 🧀 kommt"]
    assert gathered.reasons == ["openai_compat stub-1: broke off in mid-reply"]


async def test_text_stands_while_nobody_replaces_it(calls: Calls) -> None:
    """A candidate in between that cannot go on, and says nothing, takes nothing back."""
    async with (
        OpenAIChatServer(broken(after=3)) as first,
        OpenAIChatServer(Refusal(500)) as mute,
        OpenAIChatServer(otherwise=continuing(broken(after=3))) as third,
        OpenAIChatServer(otherwise=continuing(Answer(TEXT))) as last,
    ):
        order = (openai(first), openai(mute), goes_on(third), goes_on(last))
        gathered = await complete(calls, asking(), *order)
    assert told(gathered) == TEXT
    assert gathered.voided == []
    assert last.requests[0].last_text == "Der Käse 🧀 kommt  aus\nZürich,"


async def test_a_model_that_refuses_to_go_on_is_asked_anew(calls: Calls) -> None:
    async with (
        OpenAIChatServer(broken()) as first,
        OpenAIChatServer(Refusal(400, "no prefill"), Answer("Anew.")) as second,
    ):
        gathered = await complete(calls, asking(), openai(first), goes_on(second))
    assert told(gathered) == "Anew."
    assert gathered.voided == ["Der Käse 🧀 kommt"]
    assert [request.messages[-1]["role"] for request in second.requests] == ["assistant", "user"]


async def test_a_text_beyond_all_bounds_is_gone_on_with_by_nobody(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astromesh_router.telling.LONGEST_REPLY", 6)
    dialects = {"endless": Spoken(("one ", "two ", "three ")), "brief": Continuing("brief", 9)}
    able = [Candidate("vllm", name, name) for name in dialects]
    gathered = await complete(Calls(dialects, telemetry), asking(), *able)
    assert (told(gathered), gathered.voided) == ("brief", ["one "])
    assert gathered.partial_charges[0].model == "endless"


async def test_a_reply_that_has_to_match_a_schema_is_begun_anew(calls: Calls) -> None:
    request = asking()
    request.output_schema_json = '{"type": "object", "properties": {}}'
    async with (
        OpenAIChatServer(Answer('{"a": 1, "b": 2}', ending=Ending.BREAK_OFF, after=2, pause=0.01)) as first,
        OpenAIChatServer(Answer('{"a": 1, "b": 2}')) as second,
    ):
        gathered = await complete(calls, request, openai(first), goes_on(second))
    assert told(gathered) == '{"a": 1, "b": 2}'
    assert len(gathered.voided) == 1


async def test_tool_calls_of_a_dead_stream_are_dropped(calls: Calls) -> None:
    dead = Answer("Let me add.", (Call("add", '{"a": 1}', "dead"),), ending=Ending.BREAK_OFF, after=5, pause=0.01)
    alive = Answer("Let me add.", (Call("add", '{"a": 2}', "alive"),))
    async with (
        OpenAIChatServer(dead) as first,
        OpenAIChatServer(otherwise=continuing(alive)) as second,
    ):
        gathered = await complete(calls, asking(tools=[ADD]), openai(first), goes_on(second))
    assert told(gathered) == "Let me add."
    (call,) = gathered.completion.message.tool_calls
    assert (call.id, plain(call.arguments)) == ("alive", '{"a": 2}')


async def test_a_tool_call_in_place_of_a_text_takes_that_text_back(calls: Calls) -> None:
    async with (
        OpenAIChatServer(broken()) as first,
        OpenAIChatServer(Answer(calls=(Call("add", '{"a": 2}', "c"),))) as second,
    ):
        gathered = await complete(calls, asking(tools=[ADD]), openai(first), openai(second))
    assert told(gathered) == ""
    assert gathered.voided == ["Der Käse 🧀 kommt"]


async def test_each_model_that_broke_off_is_charged_by_its_prices(calls: Calls) -> None:
    async with (
        OpenAIChatServer(broken()) as first,
        OpenAIChatServer(otherwise=continuing(Answer(TEXT, tokens=Tokens(100, 50)))) as second,
    ):
        gathered = await complete(calls, asking(), replace(openai(first), prices=DEAR), goes_on(second))
    (charge,) = gathered.partial_charges
    assert (charge.provider, charge.model, charge.currency) == ("openai_compat", "stub-1", "USD")
    assert charge.usage.estimated
    assert charge.usage.input_tokens > 0
    assert charge.usage.output_tokens > 0
    assert charge.cost_nanos == (charge.usage.input_tokens + 2 * charge.usage.output_tokens) * 1_000_000
    assert gathered.completion.charge.usage.output_tokens == 50


async def test_what_broke_off_is_charged_when_nobody_answers_too(calls: Calls) -> None:
    gathered = Gathered()
    async with OpenAIChatServer(broken()) as first, OpenAIChatServer(broken(after=1)) as second:
        with pytest.raises(Unavailable):
            await gather(calls.complete(Pool((openai(first), goes_on(second))), asking()), gathered)
    assert [charge.model for charge in gathered.partial_charges] == ["stub-1", "stub-2"]
    assert gathered.voided == []


async def test_the_first_that_each_model_tells_says_who_answers_and_for_how_much(calls: Calls) -> None:
    async with (
        OpenAIChatServer(broken()) as first,
        OpenAIChatServer(otherwise=continuing(Answer(TEXT))) as second,
    ):
        gathered = await complete(calls, asking(), replace(openai(first), prices=DEAR), goes_on(second))
    dear = Asked(provider="openai_compat", model="stub-1", input_nanos=1_000_000_000, output_nanos=2_000_000_000)
    assert gathered.asked == [dear, Asked(provider="vllm", model="stub-2")]


async def test_when_nobody_answers_the_route_says_what_became_of_each(calls: Calls) -> None:
    gathered = Gathered()
    async with OpenAIChatServer(Refusal(401)) as first, OpenAIChatServer(broken(after=1)) as second:
        with pytest.raises(Unavailable):
            await gather(calls.complete(Pool((openai(first), goes_on(second))), asking()), gathered)
    (route,) = gathered.failed_routes
    assert [(step.model, step.chosen, step.error_class) for step in route.steps] == [
        ("stub-1", False, "denied"),
        ("stub-2", False, "unavailable"),
    ]


async def test_a_model_that_never_began_to_answer_is_charged_nothing(calls: Calls) -> None:
    async with OpenAIChatServer(Refusal(500)) as first, OpenAIChatServer(Answer("Here.")) as second:
        gathered = await complete(calls, asking(), openai(first), openai(second))
    assert gathered.partial_charges == []


async def test_what_a_caller_leaves_behind_is_settled(telemetry: Telemetry) -> None:
    recorder = Recorder()
    calls = Calls({"d": Spoken(("one", " two"))}, telemetry, strategist=recorder, breakers=recorder, purse=recorder)
    async with aclosing(calls.complete(Pool((Candidate("p", "d", "m", prices=DEAR),)), asking())) as parts:
        async for _ in parts:
            break
    assert recorder.told == ["m settled", "m abandoned"]
    (charge,) = recorder.charges
    assert charge.usage.estimated
    assert charge.usage.output_tokens == 1


@dataclass(frozen=True)
class Spoken:
    """A dialect that tells these deltas and then breaks off, or replies."""

    deltas: tuple[str | Thought, ...]
    whole: bool = True

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        for delta in self.deltas:
            yield delta
        if not self.whole:
            raise failed(candidate, Unavailable, "died")
        yield Reply("".join(delta for delta in self.deltas if isinstance(delta, str)), (), "stop", None)

    async def models(self, candidate: Candidate) -> list[str]:
        return []


@dataclass(frozen=True)
class Continuing:
    """A dialect that goes on with what it is given, in pieces, until all of the text is said or it dies."""

    text: str
    piece: int
    dies_after: int | None = None

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        assert self.text.startswith(prefill)
        rest = self.text[len(prefill) :]
        for number, start in enumerate(range(0, len(rest), self.piece)):
            if number == self.dies_after:
                break
            yield rest[start : start + self.piece]
        if self.dies_after is not None:
            raise failed(candidate, Unavailable, "died")
        yield Reply(rest, (), "stop", None)

    async def models(self, candidate: Candidate) -> list[str]:
        return []


PIECES, DEATHS = st.integers(1, 9), st.integers(0, 4)


@given(TEXTS, st.lists(st.tuples(PIECES, DEATHS, st.booleans()), max_size=4), PIECES, st.booleans())
def test_whatever_is_cut_wherever_what_was_read_is_the_message(
    text: str, deaths: list[tuple[int, int, bool]], piece: int, last_goes_on: bool
) -> None:
    """Through any number of deaths, with models that go on and models that do not."""
    dialects = {f"d{number}": Continuing(text, piece, dies) for number, (piece, dies, _) in enumerate(deaths)}
    dialects["last"] = Continuing(text, piece)
    able = [*(goes_on for _, _, goes_on in deaths), last_goes_on]
    candidates = [
        Candidate("vllm" if goes_on else "openai_compat", name, name, max_retries=0)
        for name, goes_on in zip(dialects, able, strict=True)
    ]
    gathered = asyncio.run(complete(Calls(dialects, Telemetry()), asking(), *candidates))
    assert told(gathered) == text
    if all(able[1:]) and text[:1].strip():
        assert gathered.voided == []


async def test_thoughts_that_are_void_are_taken_back_too(telemetry: Telemetry) -> None:
    dialects = {"a": Spoken((Thought("hm"),), whole=False), "b": Spoken((Thought("ah"), "Yes."))}
    gathered = await complete(Calls(dialects, telemetry), asking(), Candidate("p", "a", "a"), Candidate("p", "b", "b"))
    assert told(gathered) == "Yes."
    assert gathered.voided == [""]
    assert gathered.partial_charges[0].usage.output_tokens == 1


async def test_what_a_dialect_says_only_at_its_end_is_told(telemetry: Telemetry) -> None:
    class Silent(Spoken):
        async def stream(
            self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
        ) -> AsyncGenerator[Part, None]:
            yield Reply("All at once.", (), "stop", None)

    gathered = await complete(Calls({"a": Silent(())}, telemetry), asking(), Candidate("p", "a", "a"))
    assert gathered.texts == ["All at once."]
    assert told(gathered) == "All at once."
