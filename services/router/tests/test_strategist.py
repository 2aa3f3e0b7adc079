"""What was seen of calls changes the next ranking: speeds, answers, turns. Time and chance are the test's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate, Pool, Prices
from astromesh_router.figures import Figures
from astromesh_router.observations import FIRST_CALL_SECONDS, HALF_LIFE_SECONDS, SPAN, Observations
from astromesh_router.ports import Needs
from astromesh_router.strategist import LearningStrategist

NEEDS = Needs(lambda: 800, 0, tools=False, vision=False, structured_output=False)
WITH_TOOLS = Needs(lambda: 800, 0, tools=True, vision=False, structured_output=False)


def candidate(name: str, *, tools: bool | None = None, prices: Prices | None = None) -> Candidate:
    return Candidate("openai", "openai_compat", name, tools=tools, prices=prices or Prices())


A, B, C = (candidate(name) for name in "abc")


def figures(seen: Observations, pool: Pool, candidate: Candidate) -> Figures:
    """What is known of one candidate of a pool."""
    (found,) = seen.figures(replace(pool, candidates=(candidate,)))
    return found


@dataclass
class Watch:
    """Seconds, moved by hand."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A router whose models answer at the speed that the test says, one call a second."""

    pool: Pool
    seconds: Mapping[str, float]
    seed: int = 0
    tokens: int = 1
    watch: Watch = field(default_factory=Watch)
    picks: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.strategist = LearningStrategist(self.watch, Random(self.seed))

    def call(self, needs: Needs = NEEDS) -> str:
        """One call, whose model answers; the name of that model."""
        chosen = self.strategist.rank(self.pool, needs).order[0].candidate
        seconds = self.seconds[chosen.model]
        self.watch.now += 1.0
        usage = Usage(input_tokens=800, output_tokens=self.tokens)
        self.strategist.replied(self.pool, chosen, seconds, seconds, usage)
        return chosen.model

    def calls(self, count: int) -> Counter[str]:
        return Counter(self.call() for _ in range(count))


def pool(strategy: str, *candidates: Candidate, agent: str = "default/a", role: str = "default") -> Pool:
    return Pool(candidates, strategy, agent, role=role)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.3, 50.0))
def test_latency_settles_on_the_faster_one_and_returns_to_one_that_recovers(seed: int, ratio: float) -> None:
    world = World(pool("latency_optimized", A, B), {"a": 0.2 * ratio, "b": 0.2}, seed)
    world.calls(20)
    assert world.calls(400)["b"] >= 340
    world.seconds = {"a": 0.2 * ratio, "b": 10.0 * ratio}
    world.calls(100)
    assert world.calls(400)["a"] >= 340
    world.seconds = {"a": 0.2 * ratio, "b": 0.2}
    world.calls(300)
    assert world.calls(400)["b"] >= 340


def test_each_new_candidate_is_measured_by_one_call_though_many_come_at_once() -> None:
    watch = Watch()
    strategist = LearningStrategist(watch, Random(0))
    chosen = pool("latency_optimized", A, B, C)
    strategist.replied(chosen, A, 0.2, 0.2, Usage(output_tokens=1))
    first = Counter(strategist.rank(chosen, NEEDS).order[0].candidate.model for _ in range(100))
    assert first["b"] == first["c"] == 1
    watch.now += FIRST_CALL_SECONDS
    again = [strategist.rank(chosen, NEEDS).order[0].candidate.model for _ in range(3)]
    assert again == ["b", "c", "a"]


def test_a_candidate_that_fails_is_left_at_once_where_it_takes_long() -> None:
    watch = Watch()
    strategist = LearningStrategist(watch, Random(1))
    chosen = pool("latency_optimized", A, B)
    for _ in range(10):
        strategist.replied(chosen, A, 0.2, 0.2, Usage(output_tokens=1))
        strategist.replied(chosen, B, 0.3, 0.3, Usage(output_tokens=1))
    assert strategist.rank(chosen, NEEDS).order[0].candidate is A
    strategist.failed(chosen, A, 60.0)
    assert strategist.rank(chosen, NEEDS).order[0].candidate is B


def test_a_refusal_within_milliseconds_makes_nobody_fast() -> None:
    strategist = LearningStrategist(Watch(), Random(1))
    chosen = pool("latency_optimized", A, B)
    strategist.replied(chosen, B, 0.5, 0.5, Usage(output_tokens=1))
    for _ in range(3):
        strategist.failed(chosen, A, 0.001)
    ranking = strategist.rank(chosen, NEEDS)
    assert [ranked.candidate.model for ranked in ranking.order] == ["b", "a"]
    assert ranking.order[1].reason == "failed its last 3 calls"


@pytest.mark.parametrize("callers", [1, 10])
@pytest.mark.parametrize("calls", [1, 7, 100])
async def test_turns_differ_by_one_at_most_however_many_ask_at_once(callers: int, calls: int) -> None:
    strategist = LearningStrategist()
    chosen = pool("round_robin", A, B, C)
    picks = Counter[str](dict.fromkeys("abc", 0))

    async def caller() -> None:
        for _ in range(calls):
            picks[strategist.rank(chosen, NEEDS).order[0].candidate.model] += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(caller() for _ in range(callers)))
    assert max(picks.values()) - min(picks.values()) <= 1


@given(st.lists(st.booleans(), max_size=60))
def test_turns_are_fair_to_each_kind_of_request(with_tools: list[bool]) -> None:
    strategist = LearningStrategist()
    chosen = pool("round_robin", A, candidate("b", tools=False), C)
    picks = {True: Counter(a=0, c=0), False: Counter(a=0, b=0, c=0)}
    for wants in with_tools:
        ranking = strategist.rank(chosen, WITH_TOOLS if wants else NEEDS)
        picks[wants][ranking.order[0].candidate.model] += 1
    for kind in picks.values():
        assert max(kind.values()) - min(kind.values()) <= 1


def test_agents_and_roles_take_turns_of_their_own() -> None:
    strategist = LearningStrategist()
    pools = [pool("round_robin", A, B), pool("round_robin", A, B, role="judge"), pool("round_robin", A, B, agent="x/y")]
    assert [strategist.rank(each, NEEDS).order[0].candidate.model for each in pools] == ["a", "a", "a"]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0.01, 10), st.booleans()), max_size=40), st.integers())
def test_the_same_calls_and_the_same_seed_give_the_same_rankings(
    calls: list[tuple[str, float, bool]], seed: int
) -> None:
    def rankings() -> list[str]:
        watch = Watch()
        strategist = LearningStrategist(watch, Random(seed))
        chosen, told = pool("latency_optimized", A, B), list[str]()
        for name, seconds, succeeds in calls:
            ranking = strategist.rank(chosen, NEEDS)
            told.append(f"{ranking} {[ranked.expect() for ranked in ranking.order]}")
            watch.now += seconds
            asked = A if name == "a" else B
            if succeeds:
                strategist.replied(chosen, asked, seconds, seconds, Usage(output_tokens=3))
            else:
                strategist.failed(chosen, asked, seconds)
        return told

    assert rankings() == rankings()


def test_long_answers_make_a_dear_output_dearer() -> None:
    cheap_output, cheap_input = candidate("a", prices=Prices(0.002, 0.001)), candidate("b", prices=Prices(0.001, 0.003))
    world = World(pool("cost_optimized", cheap_output, cheap_input), {"a": 0.1, "b": 0.1}, tokens=20)
    assert world.calls(30)["b"] >= 29
    world.tokens = 3_000
    world.calls(10)
    assert world.calls(30) == {"a": 30}


def test_an_answer_is_expected_as_long_as_this_agents_answers_are() -> None:
    watch = Watch()
    seen = Observations(watch)
    terse, chatty = pool("", A, B, agent="x/terse"), pool("", A, B, agent="x/chatty")
    for _ in range(200):
        seen.replied(terse, A, 0.1, 0.2, Usage(input_tokens=100, output_tokens=10, cached_input_tokens=50))
        seen.replied(chatty, A, 0.1, 0.2, Usage(input_tokens=100, output_tokens=900))
    assert figures(seen, terse, A).output_tokens == pytest.approx(10, abs=1)
    assert figures(seen, terse, A).cached_share == pytest.approx(0.5, abs=0.01)
    assert figures(seen, chatty, A).output_tokens == pytest.approx(900, abs=1)
    never_asked = figures(seen, terse, B)
    assert (never_asked.output_tokens, never_asked.calls) == (pytest.approx(10, abs=1), 0)


def test_one_long_answer_makes_no_model_verbose_and_many_do() -> None:
    seen = Observations(Watch())
    chosen = pool("", A, B)
    for _ in range(200):
        seen.replied(chosen, A, 0.1, 0.2, Usage(output_tokens=10))
    seen.replied(chosen, B, 0.1, 0.2, Usage(output_tokens=1_000))
    assert 150 < figures(seen, chosen, B).output_tokens < 300
    for _ in range(2 * SPAN):
        seen.replied(chosen, A, 0.1, 0.2, Usage(output_tokens=10))
        seen.replied(chosen, B, 0.1, 0.2, Usage(output_tokens=1_000))
    assert figures(seen, chosen, B).output_tokens > 850


def test_speed_is_measured_to_the_first_token_and_for_each_one_after_it() -> None:
    seen = Observations(Watch())
    chosen = pool("", A)
    seen.replied(chosen, A, 0.5, 2.5, Usage(output_tokens=101))
    assert figures(seen, chosen, A).measured.first_token == 0.5
    assert figures(seen, chosen, A).measured.per_token == pytest.approx(0.02)
    seen.replied(chosen, A, 0.5, 0.5, Usage(output_tokens=1))
    assert figures(seen, chosen, A).measured.per_token == pytest.approx(0.02)
    assert figures(seen, pool("", A, agent="another/one"), A).measured.first_token == 0.5


def test_an_average_favours_the_last_calls() -> None:
    seen = Observations(Watch())
    chosen = pool("", A)
    for _ in range(100):
        seen.replied(chosen, A, 1.0, 1.0, Usage(output_tokens=1))
    for _ in range(SPAN):
        seen.replied(chosen, A, 2.0, 2.0, Usage(output_tokens=1))
    assert 1.8 < figures(seen, chosen, A).speed.first_token < 1.95


def test_an_old_bad_figure_fades_to_what_is_usual_and_the_next_one_replaces_it() -> None:
    watch = Watch()
    seen = Observations(watch)
    chosen = pool("", A, B)
    seen.replied(chosen, B, 10.0, 10.0, Usage(output_tokens=1))
    for _ in range(60):
        seen.replied(chosen, A, 1.0, 1.0, Usage(output_tokens=1))
    usual = 10.0 * (1 - 2 / (SPAN + 1)) ** 60 + 1.0

    def bad() -> float:
        return figures(seen, chosen, B).speed.first_token

    assert bad() == 10.0
    watch.now += HALF_LIFE_SECONDS
    assert bad() == pytest.approx((10.0 + usual) / 2, rel=0.02)
    watch.now += 9 * HALF_LIFE_SECONDS
    assert bad() == pytest.approx(usual, rel=0.02)
    assert figures(seen, chosen, B).measured.first_token == 10.0
    seen.replied(chosen, B, 0.5, 0.5, Usage(output_tokens=1))
    assert bad() == pytest.approx(0.5, rel=0.02)


def test_failures_fade_too() -> None:
    watch = Watch()
    seen = Observations(watch)
    for _ in range(5):
        seen.failed(A, 0.1)
    assert figures(seen, pool("", A), A).speed.success == 0.0
    watch.now += 10 * HALF_LIFE_SECONDS
    assert figures(seen, pool("", A), A).speed.success > 0.99


def test_what_was_used_longest_ago_is_forgotten_and_nothing_grows_beyond() -> None:
    seen = Observations(Watch(), capacity=50)
    kept = pool("", A, agent="x/kept")
    for number in range(1_000):
        other = candidate(f"m{number}")
        each = pool("round_robin", other, agent=f"x/{number}")
        seen.turn(each, [other])
        seen.begun(other)
        seen.replied(each, other, 0.1, 0.1, Usage(output_tokens=5))
        seen.replied(kept, A, 0.1, 0.1, Usage(output_tokens=5))
    assert figures(seen, kept, A).calls == SPAN
    assert figures(seen, pool("", agent="x/0"), candidate("m0")) == Figures()
    assert seen.entries <= 4 * 50


def test_two_ways_to_ask_one_model_are_measured_apart() -> None:
    seen = Observations(Watch())
    quick, thorough = (
        Candidate("openai", "openai_compat", "m", parameters={"reasoning_effort": effort}) for effort in ("low", "high")
    )
    seen.replied(pool("", quick, thorough), quick, 0.1, 0.1, Usage(output_tokens=5))
    assert figures(seen, pool("", quick, thorough), thorough).calls == 0
