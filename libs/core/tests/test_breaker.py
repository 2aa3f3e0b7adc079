"""The breaker's rules one by one, any sequence of calls against a model of them, and the drawing in the docs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from astromesh_core.breaker import (
    FORGET_SECONDS,
    TRANSITIONS,
    Circuit,
    Leave,
    Outcome,
    State,
    Terms,
    as_of,
    diagram,
    knock,
    report,
)

TERMS = Terms(failure_threshold=3, cooldown=60, longest_call=120)
DOCS = Path(__file__).parents[3] / "docs" / "circuit-breaker.md"


def failing(circuit: Circuit, times: int, now: float = 0.0) -> Circuit:
    for _ in range(times):
        circuit, leave = knock(circuit, now, TERMS)
        assert leave is not None
        circuit = report(circuit, leave, Outcome.FAILED, now, TERMS, "refused the connection")
    return circuit


def passing(circuit: Circuit, now: float) -> tuple[Circuit, Leave]:
    circuit, leave = knock(circuit, now, TERMS)
    assert leave is not None
    return circuit, leave


def test_three_failures_in_a_row_open_it_for_its_cooldown() -> None:
    assert failing(Circuit(), 2).state is State.CLOSED
    circuit = failing(Circuit(), 3)
    assert (circuit.state, circuit.until, circuit.reason) == (State.OPEN, 60, "refused the connection")
    assert knock(circuit, 59.9, TERMS) == (circuit, None)


def test_a_success_in_between_starts_the_count_anew() -> None:
    circuit, leave = passing(failing(Circuit(), 2), 0)
    circuit = report(circuit, leave, Outcome.SUCCEEDED, 0, TERMS)
    assert failing(circuit, 2).state is State.CLOSED


def test_an_abandoned_call_counts_neither_way() -> None:
    circuit, leave = passing(failing(Circuit(), 2), 0)
    assert failing(report(circuit, leave, Outcome.ABANDONED, 0, TERMS), 1).state is State.OPEN


def test_after_the_cooldown_one_call_probes_and_decides() -> None:
    probing, probe = passing(failing(Circuit(), 3), 60)
    assert (probing.state, knock(probing, 61, TERMS)[1]) == (State.HALF_OPEN, None)
    assert report(probing, probe, Outcome.SUCCEEDED, 62, TERMS).state is State.CLOSED
    failed = report(probing, probe, Outcome.FAILED, 62, TERMS, "answered 500")
    assert (failed.state, failed.until, failed.failures, failed.reason) == (State.OPEN, 122, 4, "answered 500")


def test_an_abandoned_probe_frees_the_slot() -> None:
    probing, probe = passing(failing(Circuit(), 3), 60)
    _, another = passing(report(probing, probe, Outcome.ABANDONED, 61, TERMS), 61)
    assert another.probe


def test_a_probe_that_is_not_heard_of_again_frees_the_slot_and_reports_in_vain() -> None:
    probing, lost = passing(failing(Circuit(), 3), 60)
    assert knock(probing, 179, TERMS)[1] is None
    again, probe = passing(probing, 180)
    assert probe.probe
    assert report(again, lost, Outcome.SUCCEEDED, 181, TERMS) == again


def test_a_call_from_before_the_opening_reports_in_vain() -> None:
    closed, early = passing(Circuit(), 0)
    opened = failing(closed, 3)
    for outcome in Outcome:
        assert report(opened, early, outcome, 1, TERMS) == opened


def test_nothing_is_known_any_more_of_an_endpoint_that_nobody_tried_for_long() -> None:
    opened = failing(Circuit(), 3)
    assert as_of(opened, 60 + FORGET_SECONDS - 1).state is State.OPEN
    forgotten = as_of(opened, 60 + FORGET_SECONDS)
    assert (forgotten.state, forgotten.failures) == (State.CLOSED, 0)


def test_the_docs_show_the_diagram_that_the_table_draws() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)\n```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert drawn == diagram()


@dataclass
class Given:
    """A leave as the model knows it: when it was given, and in which era of the model."""

    leave: Leave
    era: int
    probe: bool
    at: int


class Calls(RuleBasedStateMachine):
    """Any calls in any order against a model that knows no states: since when it is open, and who probes."""

    under_way = Bundle("under_way")

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now = 0
        self.era = 0
        self.streak = 0
        self.opened_until: int | None = None
        self.probe: Given | None = None

    def forget(self) -> None:
        """What time does in the model."""
        if self.probe is not None and self.now >= self.probe.at + TERMS.longest_call:
            self.opened_until = self.probe.at + int(TERMS.longest_call)
            self.probe = None
            self.era += 1
        if self.opened_until is not None and self.probe is None and self.now >= self.opened_until + FORGET_SECONDS:
            self.opened_until, self.streak = None, 0
            self.era += 1

    @rule(seconds=st.sampled_from([1, 20, 60, 120, 600]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(target=under_way)
    def a_call_comes(self) -> object:
        self.forget()
        expected = self.opened_until is None or (self.probe is None and self.now >= self.opened_until)
        self.circuit, leave = knock(self.circuit, self.now, TERMS)
        assert (leave is not None) == expected
        if leave is None:
            nothing: MultipleResults[Given] = multiple()
            return nothing
        assert leave.probe == (self.opened_until is not None)
        if leave.probe:
            self.era += 1
        given = Given(leave, self.era, leave.probe, self.now)
        self.probe = given if leave.probe else None
        return given

    @rule(given=consumes(under_way), outcome=st.sampled_from(Outcome))
    def a_call_ends(self, given: Given, outcome: Outcome) -> None:
        self.circuit = report(self.circuit, given.leave, outcome, self.now, TERMS, "it failed")
        if given.era != self.era:
            return
        if outcome is Outcome.FAILED:
            self.streak += 1
            if given.probe or self.streak >= TERMS.failure_threshold:
                self.opened_until = self.now + int(TERMS.cooldown)
                self.probe = None
                self.era += 1
        elif outcome is Outcome.SUCCEEDED:
            self.streak = 0
            if given.probe:
                self.opened_until = self.probe = None
                self.era += 1
        elif given.probe:
            self.opened_until, self.probe = self.now, None
            self.era += 1

    @invariant()
    def one_state_follows_from_the_model(self) -> None:
        closed, probing = self.opened_until is None, self.probe is not None
        state = State.CLOSED if closed else State.HALF_OPEN if probing else State.OPEN
        assert (self.circuit.state, self.circuit.failures) == (state, self.streak)

    @invariant()
    def every_change_of_state_begins_a_period(self) -> None:
        assert self.circuit.period == self.era


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=60, deadline=None)


def test_every_state_is_entered_and_left() -> None:
    assert {source for source, _ in TRANSITIONS} == {*TRANSITIONS.values()} == {*State}
