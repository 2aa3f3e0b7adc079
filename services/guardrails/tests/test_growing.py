"""Answers checked while they grow: whatever the pieces, what is let go is what checking the whole at once gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_OUTPUT
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_guardrails.growing import FAR_REACH, REACH, State
from astromesh_guardrails.policy import Policy, compile_policy

from .judging import NO_MODELS

PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7bq9\n" * 20 + "-----END RSA PRIVATE KEY-----"
ENTITIES = (
    "ada@example.com",
    "用户名很长@例子.公司",
    "+1 (415) 555-0132",
    "(415) 555-0132",
    "+44 20 7946 0958",
    "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "078-05-1120",
    "192.168.17.4",
    "2001:db8::ff00:42:8329",
    "sk-proj-" + "a1B2" * 12,
    "Bearer " + "abcDEF123" * 30,
    PEM,
    "Project Aurora",
    "internal_only",
)
FILLERS = (
    " ",
    "  ",
    "\n",
    ". ",
    ", ",
    "and then ",
    "order #4155550132-01 ",
    "v1.2.3.4 ",
    "12:30 ",
    "他说",
    "。",
    "(",
    ")",
    "-",
    "x" * 40,
)


def policy(*output: dict[str, Any]) -> Policy:
    return compile_policy(GuardrailsSpec.model_validate({"output": list(output)}), NO_MODELS)


REDACTS = policy(
    {"type": "pii_detection", "countries": ["US", "GB", "DE"]},
    {"type": "content_filter", "forbidden_keywords": ["Project Aurora", "internal_only"], "action": "redact"},
)


def told(policy: Policy, pieces: Sequence[str]) -> list[str]:
    """What is let go after each piece, and in the end."""
    states: list[State] = []
    released: list[str] = []
    for piece in [*pieces, ""]:
        text, states = policy.part(states, piece, last=len(released) == len(pieces))
        released.append(text)
    return released


def split(text: str, lengths: Sequence[int]) -> list[str]:
    pieces: list[str] = []
    for length in lengths:
        pieces.append(text[:length])
        text = text[length:]
    return [*pieces, text]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(ENTITIES), st.sampled_from(FILLERS), st.text(max_size=12)), max_size=40),
    st.lists(st.integers(1, 60), max_size=60),
)
@example([PEM, " ", "ada@example.com"], [1] * 60)
@example(["他说" * 300, "用户名很长@例子.公司", "他说" * 300], [7] * 60)
async def test_any_split_lets_go_what_the_whole_check_gives(parts: list[str], lengths: list[int]) -> None:
    text = "".join(parts)
    whole = await REDACTS.check(GUARDRAIL_STAGE_OUTPUT, text)
    assert "".join(told(REDACTS, split(text, lengths))) == whole.text


@pytest.mark.parametrize("entity", ENTITIES)
def test_no_part_of_an_entity_ever_leaves_before_it_is_whole(entity: str) -> None:
    before = "Here it is, as you asked for it: "
    so_far = ""
    for piece in told(REDACTS, [*before, *entity, *(" and that is all there is to say about it." * 20)]):
        so_far += piece
        assert entity not in so_far
        assert not so_far.startswith(before + entity[: max(4, len(entity) // 2)])
    assert so_far.startswith(f"{before}[") or so_far.startswith(f"{before}Bearer [")


def test_what_is_held_back_is_no_more_than_a_window() -> None:
    words = [f"word{number} " for number in range(400)]
    held = most = 0
    for word, piece in zip([*words, ""], told(REDACTS, words), strict=True):
        held += len(word) - len(piece)
        most = max(most, held)
    assert held == 0
    assert most <= 2 * REACH + 2 * len("Project Aurora") + max(map(len, words)) * 2
    unspaced = told(REDACTS, ["他说"] * 2000)
    assert (
        max(sum(1 for _ in unspaced[:at]) - len("".join(unspaced[:at])) for at in range(len(unspaced))) <= 4 * FAR_REACH
    )


def test_a_truncated_answer_ends_where_it_would() -> None:
    cut = policy({"type": "pii_detection"}, {"type": "max_length", "max_characters": 20, "action": "truncate"})
    assert "".join(told(cut, ["mail ada@", "example.com ", "and more of it"])) == "mail [EMAIL] and mor"


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "pii_detection", "action": "block"},
        {"type": "content_filter", "forbidden_keywords": ["x"]},
        {"type": "content_filter", "forbidden_patterns": ["x+"], "action": "redact"},
        {"type": "max_length", "max_characters": 20},
        {"type": "json_schema", "schema": {"type": "object"}},
        {"type": "grounding", "action": "block"},
        {"type": "grounding", "action": "warn", "on_error": "block"},
    ],
    ids=lambda rule: f"{rule['type']}-{rule.get('action', '')}",
)
def test_a_rule_that_has_to_see_the_whole_says_so(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"guardrails\.output\[0\]"):
        policy(rule).part([], "x", last=False)
    tried_out = compile_policy(GuardrailsSpec.model_validate({"output": [rule], "dry_run": True}), NO_MODELS)
    assert told(tried_out, ["a", "b"]) == ["a", "b", ""]


def test_a_rule_that_only_warns_holds_nothing_back() -> None:
    warns = policy(
        {"type": "pii_detection", "action": "warn"},
        {"type": "cost_limit", "max_tokens_per_turn": 9},
        {"type": "grounding", "on_error": "allow"},
    )
    assert told(warns, ["ada@", "example.com"]) == ["ada@", "example.com", ""]
