"""What a tool says of approvals, of looking its calls up and of undoing them."""

from __future__ import annotations

from typing import Any

import pytest

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.tool_approval import ApprovalRule

LOOK = {"name": "look", "type": "internal", "function": "shop:look", "effect": "read"}
UNDO = {"name": "undo", "type": "internal", "function": "shop:undo", "effect": "idempotent"}


def agent(*tools: dict[str, Any]) -> AgentSpec:
    model = {"primary": {"provider": "extractive", "model": "any"}}
    return AgentSpec.model_validate({"model": model, "tools": [LOOK, UNDO, *tools]})


def pay(**more: Any) -> dict[str, Any]:
    schema = {"amount": {"type": "number"}, "order": {"type": "string"}}
    return {"name": "pay", "type": "internal", "function": "shop:pay", "parameters": schema, **more}


@pytest.mark.parametrize("written", [{"when": "amount > 100"}, "when: amount > 100", "when:   amount > 100"])
def test_a_condition_is_one_thing_however_it_is_written(written: object) -> None:
    spec = agent(pay(approval=written)).tools[2]
    assert spec.approval == "when: amount > 100"
    assert AgentSpec.from_json(agent(pay(approval=written)).to_json()).tools[2] == spec


def test_a_tool_that_says_nothing_of_all_this_is_stored_as_before() -> None:
    stored = agent(pay()).to_json()
    assert not any(name in stored for name in ("approval", "reconcile", "compensate"))


@pytest.mark.parametrize(
    ("approval", "arguments", "asks"),
    [
        ("always", {}, True),
        ("never", {"amount": 10**9}, False),
        ("when: amount > 100", {"amount": 101}, True),
        ("when: amount > 100", {"amount": 100}, False),
        ("when: amount > 100", {}, True),
        ("when: amount > 100", {"amount": "much"}, True),
    ],
)
def test_a_human_is_asked_where_the_condition_holds_or_nobody_can_tell(
    approval: str, arguments: dict[str, Any], asks: bool
) -> None:
    assert ApprovalRule(approval).asks(arguments) is asks


RECONCILE = {"tool": "look", "arguments": {"order": "{{ order }}"}, "succeeded": "answer.done"}
COMPENSATE = {"tool": "undo", "arguments": {"payment": "{{ result.id }}", "key": "{{ idempotency_key }}"}}


def test_a_write_may_be_looked_up_and_undone() -> None:
    spec = agent(pay(reconcile=RECONCILE, compensate=COMPENSATE)).tools[2]
    assert spec.reconcile is not None
    assert spec.reconcile.attempts == 5
    assert spec.compensate is not None
    assert not spec.compensate.when_unknown


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"approval": "sometimes"}, "says of no call"),
        ({"approval": {"when": "amount >"}}, "is no condition"),
        ({"approval": {"when": "total > 1"}}, "names the parameter total"),
        ({"approval_timeout": 60}, "how it is approved, and not when"),
        ({"approval": "always", "approval_timeout": 0}, "greater than 0"),
        ({"approval": "always", "approval_role": "viewer"}, "'user' or 'admin'"),
        ({"reconcile": {**RECONCILE, "tool": "peek"}}, "whose reconcile names 'peek'"),
        ({"reconcile": {**RECONCILE, "tool": "undo"}}, "of effect idempotent"),
        ({"reconcile": {**RECONCILE, "succeeded": "answer."}}, "is no condition"),
        ({"reconcile": {**RECONCILE, "arguments": {"a": "{{ result }}"}}}, "names result"),
        ({"reconcile": RECONCILE, "effect": "idempotent"}, "looks up writes"),
        ({"compensate": {**COMPENSATE, "tool": "pay"}}, "whose compensate names 'pay'"),
        ({"compensate": {**COMPENSATE, "arguments": {"a": "{{ total }}"}}}, "names total"),
        ({"compensate": {**COMPENSATE, "arguments": {"a": "{{ 1 + 1 }}"}}}, "braces"),
        ({"compensate": COMPENSATE, "effect": "read"}, "undoes what changes nothing"),
    ],
)
def test_what_could_not_work_is_refused_with_its_reason(more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        agent(pay(**more))


def test_what_became_of_a_write_is_not_looked_up_in_a_cache() -> None:
    cached: dict[str, Any] = {**LOOK, "name": "cached", "cache": {"ttl_seconds": 5}}
    with pytest.raises(ValueError, match="which has a cache"):
        agent(cached, pay(reconcile={**RECONCILE, "tool": "cached"}))


def test_a_question_to_a_human_needs_no_approval() -> None:
    asks: dict[str, Any] = {"name": "ask_human", "type": "builtin", "config": {"timeout_seconds": 60}}
    assert agent(asks).tools[2].name == "ask_human"
    with pytest.raises(ValueError, match="a question to a human"):
        agent({**asks, "approval": "always"})
