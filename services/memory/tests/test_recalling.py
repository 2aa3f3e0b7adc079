"""Strategies let whole turns through, the newest, as many as fit; what is left over is never lost or told twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.conversations import Place, Recalled, Summary, Turn
from astromesh_core.resources.agent_memory import ConversationalMemory
from astromesh_memory.recalling import FOLDED_AT_ONCE, Remembrance, asks_for, remembrance, unfolded

SECOND = 1_000_000_000
NOW = 1_000_000 * SECOND


def turns(*ages: float) -> list[Turn]:
    """Turns of these ages in seconds, oldest first."""
    return [
        Turn(f"run-{at}", NOW - int(age * SECOND), "", b"", Place(at.to_bytes(4, "big"), 5))
        for at, age in enumerate(ages)
    ]


def many(count: int) -> list[Turn]:
    return turns(*range(count, 0, -1))


def memory(**declared: object) -> ConversationalMemory:
    return ConversationalMemory.model_validate(declared)


def recall(declared: ConversationalMemory, found: list[Turn], summary: Summary | None = None) -> Remembrance:
    return remembrance(declared, Recalled(b"", found, summary), NOW, lambda turn: len(turn.stored))


@given(st.integers(0, 30), st.integers(1, 20))
def test_a_window_holds_the_last_turns(count: int, window: int) -> None:
    found = many(count)
    assert list(recall(memory(max_turns=window), found).turns) == found[-window:]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 200), st.integers(1, 40))
def test_a_budget_holds_the_newest_turns_that_fit_and_never_a_part_of_one(
    sizes: list[int], budget: int, window: int
) -> None:
    found = [turn._replace(stored=b"x" * size) for turn, size in zip(many(len(sizes)), sizes, strict=True)]
    taken = recall(memory(strategy="token_budget", max_tokens=budget, max_turns=window), found)
    kept = len(taken.turns)
    assert list(taken.turns) == found[len(found) - kept :]
    assert taken.tokens == sum(sizes[len(sizes) - kept :]) <= budget
    assert kept <= window
    if kept < min(window, len(found)):
        assert taken.tokens + sizes[-kept - 1] > budget


@given(st.integers(0, 300), st.integers(1, 40), st.integers(-1, 299))
def test_every_turn_is_summarised_folded_or_told_and_none_twice(count: int, window: int, told: int) -> None:
    found = many(count)
    summary = Summary(f"run-{told}", NOW, b"sum") if 0 <= told < count else None
    taken = recall(memory(strategy="summary", max_turns=window), found, summary)
    left = unfolded(found, summary)
    assert [*taken.to_fold, *taken.turns] == list(left)[: len(taken.to_fold)] + list(left)[-len(taken.turns) :] * (
        len(taken.turns) > 0
    )
    assert taken.summary == summary
    assert len(taken.turns) <= window
    assert len(taken.to_fold) <= FOLDED_AT_ONCE
    assert bool(taken.to_fold) == (len(left) > window)
    if len(left) <= FOLDED_AT_ONCE:
        assert len(taken.to_fold) + len(taken.turns) == len(left)


def test_a_model_is_asked_once_in_half_a_window() -> None:
    declared, summary, asked = memory(strategy="summary", max_turns=10), None, 0
    for count in range(1, 101):
        taken = recall(declared, many(count)[-asks_for(declared) :] if summary is None else many(count), summary)
        if taken.to_fold:
            asked += 1
            summary = Summary(taken.to_fold[-1].run_id, NOW, b"sum")
    assert asked <= 100 / 5


def test_a_session_is_forgotten_when_its_time_is_up_and_not_before() -> None:
    assert len(recall(memory(ttl=60), turns(500, 450, 59)).turns) == 1
    assert len(recall(memory(ttl=60), turns(100, 59)).turns) == 2
    assert not recall(memory(ttl=60), turns(100, 61)).turns
    assert len(recall(memory(), turns(1_000_000, 61)).turns) == 2


def test_what_a_pause_has_forgotten_no_summary_brings_back() -> None:
    declared = memory(ttl=60, strategy="summary")
    before = Summary("run-0", NOW - 450 * SECOND, b"sum")
    assert recall(declared, turns(500, 450, 30), before).summary is None
    assert recall(declared, turns(500, 450), before).summary is None
    assert recall(declared, [], before).summary is None
    after = Summary("run-2", NOW - 25 * SECOND, b"sum")
    assert recall(declared, turns(500, 450, 30, 20), after).summary == after


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20), st.integers(1, 100))
def test_expiry_depends_on_the_times_of_events_alone(pauses: list[int], ttl: int) -> None:
    ages = [sum(pauses[at:]) for at in range(len(pauses))]
    whole = recall(memory(ttl=ttl), turns(*ages)).turns
    expected = 0
    for pause in reversed(pauses):
        if pause > ttl:
            break
        expected += 1
    assert len(whole) == expected
