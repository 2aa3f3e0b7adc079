"""Each strategy keeps its definition, whatever is declared and seen: properties, and the figures that it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_router.candidates import Candidate, Prices
from astromesh_router.figures import Figures, Seen, Speed
from astromesh_router.ports import Needs, Ranking
from astromesh_router.strategies import EXPLORING_SHARE, STRATEGIES, dollars, rank

NEEDS = Needs(lambda: 800, 0, tools=False, vision=False, structured_output=False)
NAMES = st.sampled_from([*STRATEGIES, ""])
MAYBE = st.none() | st.booleans()
SECONDS = st.floats(0.001, 100)
SHARE = st.floats(0, 1)

COUNTS = st.integers(0, 20_000).map(lambda tokens: lambda: tokens)
needs = st.builds(Needs, COUNTS, st.sampled_from([0, 100]), st.booleans(), st.booleans(), st.booleans())
speeds = st.builds(Speed, SECONDS, st.floats(0, 1), SHARE)
figures = st.builds(Figures, st.floats(0, 5_000), SHARE, st.integers(0, 20), speeds, speeds, st.booleans())
measured = st.builds(Figures, st.floats(0, 5_000), SHARE, st.integers(1, 20), speeds, speeds)
prices = st.builds(Prices, SHARE, SHARE, st.none() | SHARE)
candidates = st.builds(
    Candidate,
    provider=st.just("openai"),
    dialect=st.just("openai_compat"),
    model=st.sampled_from("abcdef"),
    parameters=st.sampled_from([{}, {"max_tokens": 500}]),
    prices=prices,
    priced=st.booleans(),
    quality_score=st.none() | SHARE,
    context_window=st.none() | st.integers(1, 30_000),
    tools=MAYBE,
    vision=MAYBE,
    structured_output=MAYBE,
)


@st.composite
def worlds(draw: st.DrawFn, seen_of_each: st.SearchStrategy[Figures] = figures) -> tuple[list[Candidate], Seen]:
    """Candidates, and what was seen of each."""
    declared = draw(st.lists(candidates, min_size=1, max_size=6))
    each = tuple(draw(seen_of_each) for _ in declared)
    return declared, Seen(each, draw(st.integers(0, 50)), draw(st.floats(0, 1, exclude_max=True)))


def models(*quirks: Mapping[str, object]) -> list[Candidate]:
    """A candidate for each, called a, b, c …"""
    named = zip("abcdef", quirks, strict=False)
    return [replace(Candidate("openai", "openai_compat", name), **quirk) for name, quirk in named]


def ordered(strategy: str, declared: list[Candidate], seen: Seen | None = None, wanted: Needs = NEEDS) -> str:
    """The names in their order."""
    ranking = rank(strategy, declared, seen or Seen(tuple(Figures() for _ in declared)), wanted)
    return "".join(ranked.candidate.model for ranked in ranking.order)


def reasons(strategy: str, declared: list[Candidate], seen: Seen | None = None, wanted: Needs = NEEDS) -> list[str]:
    ranking = rank(strategy, declared, seen or Seen(tuple(Figures() for _ in declared)), wanted)
    return [ranked.reason for ranked in ranking.order]


def place(ranking: Ranking, candidate: Candidate) -> int:
    return next(place for place, ranked in enumerate(ranking.order) if ranked.candidate is candidate)


def can(candidate: Candidate, wanted: Needs) -> bool:
    """The rule, said anew."""
    bounds = [wanted.max_output_tokens, candidate.parameters.get("max_tokens", 0)]
    reply = min([bound for bound in bounds if isinstance(bound, int) and bound > 0] or [1])
    return not (
        (wanted.tools and candidate.tools is False)
        or (wanted.vision and candidate.vision is not True)
        or (wanted.structured_output and candidate.structured_output is False)
        or (candidate.context_window is not None and wanted.input_tokens + reply > candidate.context_window)
    )


@given(NAMES, worlds(), needs)
def test_every_strategy_orders_those_that_can_and_names_what_the_others_lack(
    strategy: str, world: tuple[list[Candidate], Seen], wanted: Needs
) -> None:
    declared, seen = world
    ranking = rank(strategy, declared, seen, wanted)
    able = [candidate for candidate in declared if can(candidate, wanted)]
    unable = [candidate for candidate in declared if not can(candidate, wanted)]
    assert sorted(map(id, able)) == sorted(id(ranked.candidate) for ranked in ranking.order)
    assert [id(candidate) for candidate, _ in ranking.excluded] == [id(candidate) for candidate in unable]
    assert all(reason for _, reason in ranking.excluded)
    assert all(ranked.reason for ranked in ranking.order)


@given(NAMES, worlds(), needs)
def test_the_same_is_ranked_the_same(strategy: str, world: tuple[list[Candidate], Seen], wanted: Needs) -> None:
    first, again = (rank(strategy, *world, wanted) for _ in range(2))
    assert first == again
    assert [ranked.expect() for ranked in first.order] == [ranked.expect() for ranked in again.order]


@given(worlds(), st.data(), SHARE)
def test_a_candidate_that_gets_cheaper_never_loses_a_place(
    world: tuple[list[Candidate], Seen], data: st.DataObject, factor: float
) -> None:
    declared, seen = world
    index = data.draw(st.integers(0, len(declared) - 1))
    strategy = data.draw(st.sampled_from(["cost_optimized", "quality_first"]))
    wanted = replace(NEEDS, count_tokens=lambda: 0)
    declared = [replace(candidate, context_window=None) for candidate in declared]
    before = declared[index].prices
    cached = None if before.cached_input is None else before.cached_input * factor
    lower = replace(declared[index], prices=Prices(before.input * factor, before.output * factor, cached), priced=True)
    cheaper = [*declared[:index], lower, *declared[index + 1 :]]
    after = place(rank(strategy, cheaper, seen, wanted), lower)
    assert after <= place(rank(strategy, declared, seen, wanted), declared[index])


@given(worlds(measured), st.data(), SHARE)
def test_a_candidate_that_gets_faster_never_loses_a_place(
    world: tuple[list[Candidate], Seen], data: st.DataObject, factor: float
) -> None:
    declared, seen = world
    seen = replace(seen, draw=data.draw(st.floats(EXPLORING_SHARE, 1)))
    declared = [replace(candidate, context_window=None) for candidate in declared]
    index = data.draw(st.integers(0, len(declared) - 1))

    def faster(speed: Speed) -> Speed:
        return Speed(speed.first_token * factor, speed.per_token * factor, speed.success)

    old = seen.figures[index]
    new = replace(old, measured=faster(old.measured), speed=faster(old.speed))
    after = replace(seen, figures=(*seen.figures[:index], new, *seen.figures[index + 1 :]))
    first, second = (rank("latency_optimized", declared, known, NEEDS) for known in (seen, after))
    assert place(second, declared[index]) <= place(first, declared[index])


@given(worlds(), st.data())
def test_a_candidate_that_gets_better_never_loses_a_place(
    world: tuple[list[Candidate], Seen], data: st.DataObject
) -> None:
    declared, seen = world
    declared = [replace(candidate, context_window=None) for candidate in declared]
    index = data.draw(st.integers(0, len(declared) - 1))
    better = replace(declared[index], quality_score=data.draw(st.floats(declared[index].quality_score or 0, 1)))
    after = [*declared[:index], better, *declared[index + 1 :]]
    ranked = place(rank("quality_first", after, seen, NEEDS), better)
    assert ranked <= place(rank("quality_first", declared, seen, NEEDS), declared[index])


@given(worlds(), needs, st.data())
def test_a_candidate_of_which_more_is_declared_never_loses_a_place(
    world: tuple[list[Candidate], Seen], wanted: Needs, data: st.DataObject
) -> None:
    declared, seen = world
    index = data.draw(st.integers(0, len(declared) - 1))
    if not can(declared[index], wanted):
        return
    able = {name: True for name in ("tools", "vision", "structured_output") if data.draw(st.booleans())}
    more = replace(declared[index], **able, context_window=declared[index].context_window or 1_000_000)
    after = [*declared[:index], more, *declared[index + 1 :]]
    ranked = place(rank("capability_match", after, seen, wanted), more)
    assert ranked <= place(rank("capability_match", declared, seen, wanted), declared[index])


def test_without_a_strategy_the_order_is_as_declared() -> None:
    declared = models({"quality_score": 0.1}, {"tools": False}, {"quality_score": 0.9})
    wanted = replace(NEEDS, tools=True)
    assert ordered("", declared, wanted=wanted) == "ac"
    assert reasons("", declared, wanted=wanted) == ["declared as number 1", "declared as number 3"]


def test_cost_is_that_of_this_request() -> None:
    declared = models({"prices": Prices(0.001, 0.01)}, {"prices": Prices(0.004, 0.002)})
    answers = tuple(Figures(output_tokens=150) for _ in declared)
    assert ordered("cost_optimized", declared, Seen(answers), replace(NEEDS, count_tokens=lambda: 100)) == "ba"
    assert ordered("cost_optimized", declared, Seen(answers), replace(NEEDS, count_tokens=lambda: 10_000)) == "ab"
    longer = tuple(Figures(output_tokens=5_000) for _ in declared)
    assert ordered("cost_optimized", declared, Seen(longer), replace(NEEDS, count_tokens=lambda: 10_000)) == "ba"


def test_a_reply_that_is_bounded_costs_no_more_than_its_bound() -> None:
    short = {"max_tokens": 10}
    declared = models({"prices": Prices(0, 0.001)}, {"prices": Prices(0, 0.002), "parameters": short})
    assert ordered("cost_optimized", declared) == "ba"
    assert reasons("cost_optimized", declared)[0] == "expected $0.000020: 800 tokens in, about 10 out"


def test_what_lies_in_a_cache_costs_what_the_cache_costs() -> None:
    declared = models({"prices": Prices(0.001, 0)}, {"prices": Prices(0.002, 0, 0.0002)})
    cold, warm = (tuple(Figures(cached_share=share) for _ in declared) for share in (0.0, 0.75))
    assert ordered("cost_optimized", declared, Seen(cold)) == "ab"
    assert ordered("cost_optimized", declared, Seen(warm)) == "ba"
    first = reasons("cost_optimized", declared, Seen(warm))[0]
    assert first == "expected $0.00052: 800 tokens in (600 cached), about 256 out"


def test_of_equal_costs_the_first_declared_is_first_and_unknown_ones_are_last() -> None:
    declared = models({"priced": False}, {"prices": Prices(0.001, 0.001)}, {"prices": Prices(0.001, 0.001)}, {})
    assert ordered("cost_optimized", declared) == "dbca"
    assert reasons("cost_optimized", declared)[-1] == "no price declared: 800 tokens in, about 256 out"


def test_quality_comes_before_cost_and_no_quality_after_any() -> None:
    dear, cheap = {"prices": Prices(0.01, 0.01)}, {"prices": Prices(0.001, 0.001)}
    declared = models(cheap, {**dear, "quality_score": 0.9}, {**cheap, "quality_score": 0.9}, {"quality_score": 0.0})
    assert ordered("quality_first", declared) == "cbda"
    assert reasons("quality_first", declared) == ["quality 0.9", "quality 0.9", "quality 0", "no quality declared"]


def test_the_fastest_whole_answer_is_first() -> None:
    declared = models({}, {})
    quick_start = Figures(100, 0, 20, Speed(0.2, 0.05), Speed(0.2, 0.05))
    quick_rest = Figures(100, 0, 3, Speed(1.0, 0.01), Speed(1.0, 0.01))
    assert ordered("latency_optimized", declared, Seen((quick_start, quick_rest))) == "ba"
    short = tuple(replace(each, output_tokens=10.0) for each in (quick_start, quick_rest))
    assert ordered("latency_optimized", declared, Seen(short)) == "ab"
    assert reasons("latency_optimized", declared, Seen(short)) == [
        "0.20 s to the first token, 20 tokens/s over the last 20 calls",
        "1.00 s to the first token, 100 tokens/s over the last 3 calls",
    ]
    near = Figures(10, 0, 3, Speed(0.0042, 0), Speed(0.0042, 0))
    assert (
        reasons("latency_optimized", declared, Seen((near, near)))[0]
        == "4.2 ms to the first token over the last 3 calls"
    )


def test_a_candidate_that_fails_counts_as_slower_and_says_so() -> None:
    declared = models({}, {}, {})
    sound, shaky = Speed(0.5, 0), Speed(0.3, 0, 0.5)
    dead = Speed(0.1, 0, 0.0)
    known = tuple(Figures(100, 0, 20, speed, speed) for speed in (dead, shaky, sound))
    assert ordered("latency_optimized", declared, Seen(known)) == "cba"
    assert reasons("latency_optimized", declared, Seen(known))[1:] == [
        "0.30 s to the first token over the last 20 calls, 50% failed",
        "failed its last 20 calls",
    ]


def test_one_call_goes_to_a_candidate_of_which_nothing_is_known() -> None:
    declared = models({}, {}, {})
    known = Figures(100, 0, 1, Speed(0.1, 0), Speed(0.1, 0))
    assert ordered("latency_optimized", declared, Seen((known, Figures(), Figures()))) == "bac"
    awaited = replace(Figures(), awaited=True)
    assert ordered("latency_optimized", declared, Seen((known, awaited, Figures()))) == "cab"
    assert ordered("latency_optimized", declared, Seen((known, awaited, awaited))) == "abc"
    assert reasons("latency_optimized", declared, Seen((known, awaited, Figures()))) == [
        "explored: not measured yet",
        "0.10 s to the first token over the last call",
        "not measured yet",
    ]


@given(st.floats(0, 1, exclude_max=True))
def test_a_small_share_of_calls_explores_each_of_the_slower_ones_alike(draw: float) -> None:
    declared = models({}, {}, {})
    known = tuple(Figures(0, 0, 9, Speed(seconds), Speed(seconds)) for seconds in (0.1, 0.2, 0.3))
    first = ordered("latency_optimized", declared, Seen(known, draw=draw))
    half = EXPLORING_SHARE / 2
    assert first == ("bac" if draw < half else "cab" if draw < EXPLORING_SHARE else "abc")


def test_turns_go_round_and_the_fallback_goes_on_with_who_is_next() -> None:
    declared = models({}, {}, {})
    rounds = [ordered("round_robin", declared, Seen((Figures(),) * 3, turn)) for turn in range(4)]
    assert rounds == ["abc", "bca", "cab", "abc"]
    assert reasons("round_robin", declared, Seen((Figures(),) * 3, 1)) == ["turn 2 of 3", "turn 3 of 3", "turn 1 of 3"]


def test_the_best_declared_match_comes_first() -> None:
    wanted = Needs(lambda: 5_000, 0, tools=True, vision=True, structured_output=True)
    sees: dict[str, object] = {"vision": True}
    declared = models(
        sees,
        {**sees, "tools": True, "structured_output": True},
        {**sees, "tools": True, "structured_output": True, "context_window": 8_000},
        {"tools": True},
        {**sees, "context_window": 4_000},
        {**sees, "structured_output": False},
    )
    assert ordered("capability_match", declared, wanted=wanted) == "cba"
    assert reasons("capability_match", declared, wanted=wanted) == [
        "declares tools, vision, structured output, context",
        "declares tools, vision, structured output; nothing said of context",
        "declares vision; nothing said of tools, structured output, context",
    ]


def test_what_is_lacking_is_said_with_the_field_that_says_so() -> None:
    wanted = Needs(lambda: 5_000, 0, tools=True, vision=True, structured_output=True)
    sees: dict[str, object] = {"vision": True}
    declared = models(
        {**sees, "tools": False},
        {},
        {**sees, "structured_output": False},
        {**sees, "context_window": 4_096},
        {**sees, "context_window": 8_192, "parameters": {"max_tokens": 4_096}},
        {**sees, "context_window": 5_000},
    )
    ranking = rank("cost_optimized", declared, Seen((Figures(),) * 6), wanted)
    assert ranking.order == ()
    assert [reason for _, reason in ranking.excluded] == [
        "it cannot call tools (capabilities.tools is false)",
        "nobody said that it sees pictures (capabilities.vision: true would)",
        "it cannot keep to a schema (capabilities.structured_output is false)",
        "its context of 4,096 tokens is too small for about 5,000 and a reply",
        "its context of 8,192 tokens is too small for about 5,000 and a reply of up to 4,096",
        "its context of 5,000 tokens is too small for about 5,000 and a reply",
    ]


def test_who_cannot_be_told_how_closely_to_look_at_a_picture_is_not_asked() -> None:
    wanted = Needs(lambda: 5, 0, tools=False, vision=True, structured_output=False, detail=True)
    declared = models({"vision": True})
    told = replace(declared[0], dialect="openai_compat")
    assert [ranked.candidate for ranked in rank("cost_optimized", (told,), Seen((Figures(),)), wanted).order] == [told]
    ranking = rank("cost_optimized", (replace(told, dialect="ollama"),), Seen((Figures(),)), wanted)
    assert ranking.order == ()
    assert ranking.excluded[0][1].startswith("its vendor takes no detail of a picture")


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "$0"), (420_000, "$0.00042"), (1, "$0.0000000010"), (12_300_000_000, "$12.30"), (99_000_000, "$0.099")],
)
def test_money_is_told_with_two_figures_that_count(nanos: int, text: str) -> None:
    assert dollars(nanos) == text
