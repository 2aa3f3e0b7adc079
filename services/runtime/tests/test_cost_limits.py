"""What a run may use, judged before each of its model calls."""

from __future__ import annotations

import pytest

from astromesh.v1 import values_pb2 as values
from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_ALLOW,
    VERDICT_ACTION_BLOCK,
    VERDICT_ACTION_WARN,
    Passage,
    ResourceRef,
    ToolSpec,
)
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import BudgetExceeded
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_core.service import Platform
from astromesh_runtime.cost_limits import CostLimits, CostVerdict, Used
from astromesh_runtime.replay import replay
from astromesh_testing.admission import admit, events_until, kinds, put_agent
from astromesh_testing.services import FakeServices

READ = ToolSpec(name="look", effect=values.TOOL_EFFECT_KIND_READ, timeout_ms=1000)
DOLLAR = 1_000_000_000


def limits(*rules: dict[str, object], **said: object) -> CostLimits:
    declared = [{"type": "cost_limit", **rule} for rule in rules]
    return CostLimits(GuardrailsSpec.model_validate({"output": declared, **said}))


def actions(told: CostVerdict) -> list[int]:
    return [verdict.action for verdict in told.verdicts]


def test_a_call_that_leads_beyond_the_tokens_of_a_turn_is_not_made() -> None:
    rules = limits({"max_tokens_per_turn": 4000})
    assert actions(rules.judge(Used(3000), Used(), 1000)) == [VERDICT_ACTION_ALLOW]
    told = rules.judge(Used(3000), Used(), 1001)
    assert actions(told) == [VERDICT_ACTION_BLOCK]
    assert [finding.kind for finding in told.verdicts[0].findings] == ["TOKENS_PER_TURN"]
    assert "3,000 tokens" in told.refusal
    assert "spec.guardrails.output[0].max_tokens_per_turn" in told.refusal


def test_what_children_used_counts_for_the_run_and_not_for_the_turn() -> None:
    assert not limits({"max_tokens_per_turn": 4000}).judge(Used(100), Used(9000), 10).refusal
    assert limits({"max_tokens_per_run": 4000}).judge(Used(100), Used(9000), 10).refusal
    assert limits({"max_cost_per_run": 1.0}).judge(Used(100), Used(9000, 2 * DOLLAR), 10).refusal


def test_the_next_call_costs_as_much_as_those_before_it() -> None:
    rules = limits({"max_cost_per_turn": 1.0})
    assert not rules.judge(Used(1000, DOLLAR // 2), Used(), 1000).refusal
    told = rules.judge(Used(1000, DOLLAR // 2), Used(), 1001)
    assert "$0.500000" in told.refusal
    assert not rules.judge(Used(), Used(), 1_000_000).refusal


def test_the_router_is_told_what_money_may_be_spent_and_its_refusal_is_the_rules_verdict() -> None:
    agent = ResourceRef(kind="Agent", namespace="default", name="desk")
    rules = limits({"max_cost_per_turn": 1.0, "max_cost_per_run": 3.0}, {"max_cost_per_turn": 0.5, "action": "warn"})
    told = list(rules.for_router(agent, Used(10, 2 * DOLLAR)))
    turn = "spec.guardrails.output[0].max_cost_per_turn"
    assert [(it.left_cost_nanos, it.declared) for it in told] == [
        (3 * DOLLAR, turn),
        (3 * DOLLAR, "spec.guardrails.output[0].max_cost_per_run"),
    ]
    verdicts = rules.judge(Used(), Used(), 5).verdicts
    rules.blame(verdicts, f"this call may take $2.00 ({turn})")
    assert [it.action for it in verdicts] == [VERDICT_ACTION_BLOCK, VERDICT_ACTION_ALLOW]
    assert [finding.kind for finding in verdicts[0].findings] == ["COST_PER_TURN"]


def test_a_rule_that_warns_or_is_tried_out_stops_nothing() -> None:
    warning = limits({"max_tokens_per_turn": 1, "action": "warn"}).judge(Used(), Used(), 5)
    assert (actions(warning), warning.refusal) == ([VERDICT_ACTION_WARN], "")
    tried = limits({"max_tokens_per_turn": 1}, dry_run=True).judge(Used(), Used(), 5)
    assert (actions(tried), tried.verdicts[0].dry_run, tried.refusal) == ([VERDICT_ACTION_BLOCK], True, "")


@pytest.mark.parametrize("rule", [{}, {"max_tokens_per_turn": 0}, {"max_cost_per_run": 0}])
def test_a_limit_that_bounds_nothing_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="cost_limit"):
        limits(rule)


async def test_a_run_that_reaches_its_limit_ends_with_the_reason_and_asks_no_model_more(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    services.tools.specs = (READ,)
    await put_agent(bus, guardrails={"output": [{"type": "cost_limit", "max_tokens_per_turn": 16}]})
    run = await admit(bus, "hi")
    events = await events_until(bus, run)
    assert len(services.router.requests) == 1
    assert kinds(events)[-4:] == ["tool_intended", "tool_succeeded", "model_replied", "failed"]
    first, second = (it.envelope.run.model_replied for it in events if it.envelope.run.HasField("model_replied"))
    assert [it.action for it in first.verdicts] == [VERDICT_ACTION_ALLOW]
    assert [it.action for it in second.verdicts] == [VERDICT_ACTION_BLOCK]
    assert len(first.policy_sha256) == 32
    failure = events[-1].envelope.run.failed.failure
    assert failure.error_class == BudgetExceeded.code
    assert "this turn has used 15 tokens" in plain(failure.message)
    assert replay([event.envelope for event in events]).identical


async def test_an_answer_is_told_as_it_comes_where_nothing_but_its_cost_is_bounded(
    bus: Bus, worker: Platform, services: FakeServices
) -> None:
    await put_agent(bus, guardrails={"output": [{"type": "cost_limit", "max_tokens_per_turn": 4000}]})
    run = await admit(bus, "hi")
    assert kinds(await events_until(bus, run))[-1] == "completed"
    assert services.guardrails.requests == []


@pytest.mark.parametrize("rule", ["grounding", "pii_detection"])
async def test_rules_see_what_was_retrieved_where_one_asks_what_an_answer_rests_on(
    bus: Bus, worker: Platform, services: FakeServices, rule: str
) -> None:
    services.rag.passages = [Passage(id="p", source="guide.md", text=text_content("a fact"), score=0.9)]
    await put_agent(bus, knowledge={"pipeline": "docs"}, guardrails={"output": [{"type": rule}]})
    await events_until(bus, await admit(bus, "hi"))
    (request,) = services.guardrails.requests
    found = [(passage.id, plain(passage.text)) for passage in request.passages]
    assert found == ([("p", "a fact")] if rule == "grounding" else [])
