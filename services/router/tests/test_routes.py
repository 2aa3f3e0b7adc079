"""A route names every candidate with its reason; those who rank, admit and pay hear how each attempt ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import (
    AstromeshError,
    BudgetExceeded,
    InvalidInput,
    LimitExceeded,
    RateLimited,
    Unavailable,
)
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Pool
from astromesh_router.dialects.port import Part
from astromesh_router.dialects.port import Reply as Whole
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Refusal
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Ending, Hang, Reply
from astromesh_testing.models.replies import Refusal as Refused

from .asking import Gathered, asking, complete, openai
from .governing import Recorder

OPEN = Refusal("the circuit is open for 42 s", 42.0)


@dataclass
class Governed:
    """Calls on real connections, with recorders."""

    calls: Calls
    recorder: Recorder


@pytest.fixture
def governed(calls: Calls, telemetry: Telemetry) -> Governed:
    recorder = Recorder()
    dialects = {"openai_compat": calls.dialect(Candidate("", "openai_compat", ""))}
    return Governed(Calls(dialects, telemetry, strategist=recorder, breakers=recorder, purse=recorder), recorder)


def named(server: OpenAIChatServer, model: str) -> Candidate:
    return replace(openai(server), model=model)


def steps(gathered: Gathered) -> list[tuple[str, bool, str, str]]:
    return [(step.model, step.chosen, step.error_class, step.reason) for step in gathered.completion.route.steps]


async def test_every_candidate_stands_in_the_route_with_its_reason(governed: Governed) -> None:
    governed.recorder.shut = {"shut": OPEN}
    governed.recorder.dear = {"dear"}
    governed.recorder.unfit = {"blind": "takes no pictures"}
    async with OpenAIChatServer(Refused(500), Reply("Here.")) as server:
        models = ("shut", "dear", "blind", "broken", "good", "spare")
        gathered = await complete(governed.calls, asking(), *(named(server, model) for model in models))
    assert gathered.completion.route.strategy == "recorded"
    assert {step.endpoint for step in gathered.completion.route.steps} == {server.endpoint}
    assert steps(gathered) == [
        ("shut", False, "", "the circuit is open for 42 s"),
        ("dear", False, "", "2 of 2 USD spent, until midnight"),
        ("broken", False, "unavailable", "answered 500"),
        ("good", True, "", "declared as number 5"),
        ("spare", False, "", "declared as number 6"),
        ("blind", False, "", "takes no pictures"),
    ]


async def test_each_attempt_is_told_once_how_it_ended(governed: Governed) -> None:
    dying = Reply("one two", ending=Ending.BREAK_OFF, after=1, pause=0.01)
    async with OpenAIChatServer(Refused(500), Refused(400), dying, Hang(), Reply("Here.")) as server:
        models = ("crashed", "refusing", "dying", "silent", "good")
        await complete(governed.calls, asking(), *(named(server, model) for model in models))
    assert governed.recorder.told == [
        *("crashed released", "crashed failed unavailable", "crashed to blame"),
        *("refusing released", "refusing failed invalid-input"),
        *("dying settled", "dying failed unavailable", "dying to blame"),
        *("silent released", "silent failed timed-out", "silent to blame"),
        *("good passed", "good settled", "good replied"),
    ]


async def test_a_call_that_nobody_may_take_waits_for_the_first_that_may_again(governed: Governed) -> None:
    governed.recorder.shut = {"shut": OPEN, "limited": Refusal("its key is to wait 3 s", 3.0, RateLimited)}
    async with OpenAIChatServer() as server:
        with pytest.raises(RateLimited, match="the circuit is open") as caught:
            await complete(governed.calls, asking(), named(server, "shut"), named(server, "limited"))
        assert caught.value.retry_after == 3.0
        with pytest.raises(Unavailable) as alone:
            await complete(governed.calls, asking(), named(server, "shut"))
        assert alone.value.retry_after == 42.0
        assert server.requests == []


async def test_a_spent_budget_is_what_the_caller_hears(governed: Governed) -> None:
    governed.recorder.dear = {"dear"}
    async with OpenAIChatServer() as server:
        with pytest.raises(BudgetExceeded, match="2 of 2 USD spent, until midnight"):
            await complete(governed.calls, asking(), named(server, "dear"))
        assert server.requests == []
    assert governed.recorder.told == ["dear abandoned"]


async def test_a_request_that_no_model_can_take_is_refused_with_the_reasons(governed: Governed) -> None:
    governed.recorder.unfit = {"blind": "takes no pictures"}
    async with OpenAIChatServer() as server:
        with pytest.raises(InvalidInput, match="takes no pictures"):
            await complete(governed.calls, asking(), named(server, "blind"))


FAILURES = [InvalidInput, Unavailable, RateLimited, LimitExceeded]
SCRIPTS = st.tuples(st.integers(0, 3), st.none() | st.sampled_from(FAILURES), st.booleans())
"""How many words a model says, how it fails then, if it does, and whether it may go on for another one."""


@dataclass(frozen=True)
class Scripted:
    """A dialect that says some words and then fails, or replies."""

    words: int
    failure: type[AstromeshError] | None

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        for _ in range(self.words):
            yield "word "
        if self.failure is not None:
            raise CandidateFailed(self.failure("x"), "x", passes_in=0.001)
        yield Whole("word " * self.words, (), "stop", None)

    async def models(self, candidate: Candidate) -> list[str]:
        return []


@given(st.lists(SCRIPTS, min_size=1, max_size=4), st.none() | st.integers(1, 8))
def test_whatever_happens_all_that_was_given_for_an_attempt_ends_once(
    scripts: list[tuple[int, type[AstromeshError] | None, bool]], leaves_after: int | None
) -> None:
    recorder = Recorder()
    dialects = {f"d{number}": Scripted(words, failure) for number, (words, failure, _) in enumerate(scripts)}
    calls = Calls(dialects, Telemetry(), strategist=recorder, breakers=recorder, purse=recorder)
    pool = Pool(
        tuple(
            Candidate("vllm" if goes_on else "openai_compat", name, name)
            for name, (_, _, goes_on) in zip(dialects, scripts, strict=True)
        )
    )

    async def read() -> None:
        async with aclosing(calls.complete(pool, asking())) as parts:
            number = 0
            async for _ in parts:
                number += 1
                if number == leaves_after:
                    return

    with suppress(AstromeshError):
        asyncio.run(read())
    assert recorder.given
    assert all(each.ended for each in recorder.given)
