"""What may pass is tried again, within the time there is, before anything was shown, and never longer than it helps."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import AstromeshError, InvalidInput, RateLimited, TimedOut, Unavailable
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience
from astromesh_router.failures import NEVER, CandidateFailed
from astromesh_router.ports import Refusal
from astromesh_router.retrying import HIGHEST_BACKOFF, LONGEST_PAUSE, SLACK, backoff, pause_before
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Drop, Ending, Hang, Reply, Scripted
from astromesh_testing.models.replies import Refusal as Refused

from .asking import asking, complete, openai
from .governing import RecordedPass, Recorder

BUSY = Refused(503, "overloaded")


def patient(server: OpenAIChatServer, retries: int = 1) -> Candidate:
    return replace(openai(server), max_retries=retries)


def limited(seconds: str) -> Refused:
    return Refused(429, "slow down", "rate_limit_exceeded", retry_after=seconds)


PASSING: dict[str, Scripted] = {
    "an overload": BUSY,
    "a crash": Refused(500),
    "a gateway that waited": Refused(504),
    "a busy model": Refused(429, "slow down", "rate_limit_exceeded"),
    "a limit for a moment": limited("0.1"),
    "a stream that ends before its first word": Reply("x", ending=Ending.STOP_SHORT, after=0),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_what_may_pass_is_tried_again_without_a_word(calls: Calls, fault: str) -> None:
    async with OpenAIChatServer(PASSING[fault], Reply("Here.")) as server:
        gathered = await complete(calls, asking(), patient(server))
    assert (gathered.text, gathered.voided) == ("Here.", [])
    (step,) = gathered.completion.route.steps
    assert step.chosen
    assert "before, it" in step.reason


async def test_connections_that_are_dropped_are_made_anew(calls: Calls) -> None:
    async with OpenAIChatServer(Drop(), Drop(), Reply("Here.")) as server:
        assert (await complete(calls, asking(), patient(server, 2))).text == "Here."


STAYING: dict[str, Scripted] = {
    "a bad request": Refused(400),
    "a wrong key": Refused(401),
    "an unknown model": Refused(404),
    "a spent account": Refused(429, "pay", "insufficient_quota"),
    "a spent credit": Refused(402, "Insufficient Balance"),
    "a silent model": Hang(),
    "a limit for an hour": limited("3600"),
    "a redirect": Refused(302, location="http://elsewhere.example"),
}


@pytest.mark.parametrize("fault", STAYING)
async def test_what_does_not_pass_is_tried_once(calls: Calls, fault: str) -> None:
    async with OpenAIChatServer(STAYING[fault]) as server:
        with pytest.raises(AstromeshError):
            await complete(calls, asking(), patient(server, 3))
        assert len(server.requests) == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_tries_as_often_as_is_declared(calls: Calls, retries: int) -> None:
    async with OpenAIChatServer(otherwise=limited("0")) as server:
        with pytest.raises(RateLimited):
            await complete(calls, asking(), patient(server, retries))
        assert len(server.requests) == 1 + retries


async def test_nothing_is_tried_again_once_text_was_shown(calls: Calls) -> None:
    async with OpenAIChatServer(Reply("one two", ending=Ending.BREAK_OFF, after=1, pause=0.01)) as server:
        with pytest.raises(Unavailable):
            await complete(calls, asking(), patient(server, 3))
        assert len(server.requests) == 1


async def test_waits_as_long_as_the_vendor_says(calls: Calls) -> None:
    async with OpenAIChatServer(limited("0.3"), Reply("Here.")) as server:
        begun = time.monotonic()
        await complete(calls, asking(), patient(server))
        assert time.monotonic() - begun >= 0.3


async def test_another_model_answers_sooner_than_a_limit_ends(calls: Calls) -> None:
    async with OpenAIChatServer(limited("5")) as first, OpenAIChatServer(Reply("Here.")) as second:
        begun = time.monotonic()
        gathered = await complete(calls, asking(), patient(first), patient(second))
        assert time.monotonic() - begun < 3
    assert gathered.text == "Here."
    assert len(first.requests) == 1


async def test_all_attempts_at_a_model_share_its_time(calls: Calls) -> None:
    hasty = Patience(whole=0.5, first_token=0.4, between_tokens=0.4)
    async with OpenAIChatServer(limited("0.2"), Hang()) as server:
        begun = time.monotonic()
        with pytest.raises(TimedOut, match=r"within 0\.5 s"):
            await complete(calls, asking(), replace(patient(server, 5), patience=hasty))
        assert time.monotonic() - begun < 0.8
        assert len(server.requests) == 2


async def test_does_not_wait_for_what_comes_too_late(calls: Calls) -> None:
    async with OpenAIChatServer(limited("2")) as server:
        begun = time.monotonic()
        with pytest.raises(RateLimited):
            await complete(calls, asking(), replace(patient(server), patience=Patience(whole=1.0)))
        assert time.monotonic() - begun < 1


async def test_a_limit_blames_no_endpoint_and_each_attempt_asks_for_leave(telemetry: Telemetry, calls: Calls) -> None:
    recorder = Recorder()
    governed = Calls({"openai_compat": calls.dialect(Candidate("", "openai_compat", ""))}, telemetry, breakers=recorder)
    async with OpenAIChatServer(limited("0"), BUSY, Reply("Here.")) as server:
        await complete(governed, asking(), patient(server, 2))
    assert recorder.told == ["stub-1 failed rate-limited", "stub-1 failed unavailable", "stub-1 passed"]


async def test_a_circuit_that_opens_meanwhile_ends_the_attempts(telemetry: Telemetry, calls: Calls) -> None:
    class Opening(Recorder):
        async def admit(self, candidate: Candidate) -> RecordedPass:
            given = await super().admit(candidate)
            self.shut[candidate.model] = Refusal("circuit open for 60 s", 60)
            return given

    governed = Calls(
        {"openai_compat": calls.dialect(Candidate("", "openai_compat", ""))}, telemetry, breakers=Opening()
    )
    async with OpenAIChatServer(BUSY) as server:
        with pytest.raises(Unavailable, match="answered 503"):
            await complete(governed, asking(), patient(server, 5))
        assert len(server.requests) == 1


@given(st.floats(0.01, 1), st.integers(1, 10))
def test_pauses_grow_at_random_and_are_bounded(first: float, retry: int) -> None:
    assert 0 <= backoff(first, retry) <= min(first * 2 ** (retry - 1), HIGHEST_BACKOFF)


FAILURES = st.one_of(
    st.builds(RateLimited, st.just("x"), retry_after=st.none() | st.floats(0, 100)),
    st.just(Unavailable("x")),
    st.just(TimedOut("x")),
    st.just(InvalidInput("x")),
)


@given(FAILURES, st.integers(1, 10), st.floats(-1, 100), st.booleans())
def test_a_pause_is_never_longer_than_what_is_left(
    error: AstromeshError, retry: int, left: float, others_left: bool
) -> None:
    failure = CandidateFailed(error, "x")
    pause = pause_before(failure, retry, left, others_left=others_left)
    if failure.passes_in == NEVER:
        assert pause is None
    if pause is not None:
        assert 0 <= pause < left
        assert pause <= LONGEST_PAUSE + SLACK
        assert pause >= (error.retry_after or 0)


async def test_a_limited_key_is_waited_for_also_after_another_model_broke_off(
    telemetry: Telemetry, calls: Calls
) -> None:
    class Limited(Recorder):
        async def admit(self, candidate: Candidate) -> RecordedPass:
            refusal = self.shut.pop(candidate.model, None)
            if refusal is not None:
                raise refusal
            return RecordedPass(self, candidate)

    limited_key = Limited(shut={"second": Refusal("its key is to wait 0.1 s", 0.1, RateLimited)})
    dialects = {"openai_compat": calls.dialect(Candidate("", "openai_compat", ""))}
    governed = Calls(dialects, telemetry, breakers=limited_key)
    broken = Reply("one two", ending=Ending.BREAK_OFF, after=1, pause=0.01)
    async with OpenAIChatServer(broken, Reply("Here.")) as server:
        second = replace(patient(server), model="second")
        gathered = await complete(governed, asking(), patient(server), second)
    assert (gathered.text, gathered.voided) == ("Here.", ["one"])
