"""Rules where tools begin and end: JSON seen through, masks with a run's tokens, dry runs, every rule asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_INPUT,
    GUARDRAIL_STAGE_TOOL_ARGUMENTS,
    GUARDRAIL_STAGE_TOOL_RESULTS,
)
from astromesh.v1.values_pb2 import VERDICT_ACTION_ALLOW, VERDICT_ACTION_BLOCK, VERDICT_ACTION_MASK
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_guardrails.masking import Masks
from astromesh_guardrails.policy import Policy, compile_policy

from .judging import NO_MODELS

PII = {"type": "pii_detection"}
MASK = {"type": "pii_detection", "action": "mask"}
WORDS = {"type": "content_filter", "forbidden_keywords": ["aurora"]}


def policy(**guardrails: Any) -> Policy:
    return compile_policy(GuardrailsSpec.model_validate(guardrails), NO_MODELS)


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ('{"to": "ada@example.com", "n": 3, "ok": true, "x": null}', {"to": "[EMAIL]", "n": 3, "ok": True, "x": None}),
        ('{"to": "ada\\u0040example.com"}', {"to": "[EMAIL]"}),
        ('{"to": "line\\nada@example.com\\nline"}', {"to": "line\n[EMAIL]\nline"}),
        (
            '{"card": 4111111111111111, "deep": [{"to": ["ada@example.com"]}]}',
            {"card": "[CREDIT_CARD]", "deep": [{"to": ["[EMAIL]"]}]},
        ),
        ('["ada@exam", "ple.com"]', ["ada@exam", "ple.com"]),
    ],
)
async def test_arguments_are_judged_by_what_stands_in_them(written: str, left: object) -> None:
    checked = await policy(tool_arguments=[PII]).check(GUARDRAIL_STAGE_TOOL_ARGUMENTS, written)
    assert json.loads(checked.text) == left


async def test_arguments_in_which_nothing_is_found_stay_as_the_model_wrote_them() -> None:
    written = '{ "amount" : 1.50, "big": 123456789012345678901234567890 }'
    assert (await policy(tool_arguments=[PII]).check(GUARDRAIL_STAGE_TOOL_ARGUMENTS, written)).text == written


async def test_a_name_that_would_have_to_change_blocks_a_call_and_changes_in_a_result() -> None:
    rules = policy(tool_arguments=[PII], tool_results=[PII])
    written = '{"ada@example.com": 1}'
    call = await rules.check(GUARDRAIL_STAGE_TOOL_ARGUMENTS, written)
    assert (call.blocked, call.verdicts[0].action) == (True, VERDICT_ACTION_BLOCK)
    result = await rules.check(GUARDRAIL_STAGE_TOOL_RESULTS, written)
    assert json.loads(result.text) == {"[EMAIL]": 1}


async def test_what_is_no_json_is_judged_as_it_stands() -> None:
    rules = policy(tool_arguments=[PII], tool_results=[PII])
    for stage in (GUARDRAIL_STAGE_TOOL_ARGUMENTS, GUARDRAIL_STAGE_TOOL_RESULTS):
        assert (await rules.check(stage, '{"to": ada@example.com')).text == '{"to": [EMAIL]'


async def test_a_schema_and_a_length_see_the_json_itself() -> None:
    schema = {"type": "json_schema", "schema": {"type": "object", "required": ["to"]}}
    rules = policy(
        tool_arguments=[schema], tool_results=[{"type": "max_length", "max_characters": 9, "action": "truncate"}]
    )
    assert not (await rules.check(GUARDRAIL_STAGE_TOOL_ARGUMENTS, '{"to": 1}')).blocked
    assert (await rules.check(GUARDRAIL_STAGE_TOOL_ARGUMENTS, '{"from": 1}')).blocked
    assert (await rules.check(GUARDRAIL_STAGE_TOOL_RESULTS, '{"to": [1, 2]}')).text == '{"to": [1'


async def test_a_value_has_one_token_in_all_texts_of_a_run() -> None:
    rules, masks = policy(input=[MASK], tool_results=[MASK]), Masks({"<EMAIL_1>": "ada@example.com"})
    checked = await rules.check(GUARDRAIL_STAGE_TOOL_RESULTS, "bob@example.com or ada@example.com", masks=masks)
    assert checked.text == "<EMAIL_2> or <EMAIL_1>"
    assert checked.verdicts[0].action == VERDICT_ACTION_MASK
    assert await rules.masked(["bob@example.com", "eve@example.com"], masks) == ["<EMAIL_2>", "<EMAIL_3>"]
    assert masks.added == {"<EMAIL_2>": "bob@example.com", "<EMAIL_3>": "eve@example.com"}


async def test_whoever_writes_a_token_gets_nobodys_value_for_it() -> None:
    masks = Masks()
    checked = await policy(input=[MASK]).check(GUARDRAIL_STAGE_INPUT, "<EMAIL_1> is ada@example.com", masks=masks)
    assert checked.text == "<EMAIL_1> is <EMAIL_2>"
    assert masks.added == {"<EMAIL_1>": "<EMAIL_1>", "<EMAIL_2>": "ada@example.com"}
    texts = ["bob@example.com", "what <EMAIL_3> means"]
    assert await policy(input=[MASK]).masked(texts, masks) == ["<EMAIL_4>", "what <EMAIL_3> means"]


async def test_a_dry_run_tells_what_it_would_have_done_and_does_nothing() -> None:
    masks = Masks()
    for tried in (
        policy(input=[WORDS, MASK], dry_run=True),
        policy(input=[{"policy": "p", "rules": [WORDS, MASK], "dry_run": True}]),
    ):
        checked = await tried.check(GUARDRAIL_STAGE_INPUT, "aurora ada@example.com", masks=masks)
        assert (checked.text, checked.blocked, masks.added) == ("aurora ada@example.com", False, {})
        assert [(it.action, it.dry_run) for it in checked.verdicts] == [
            (VERDICT_ACTION_BLOCK, True),
            (VERDICT_ACTION_MASK, True),
        ]
    assert [it.policy for it in checked.verdicts] == ["p", "p"]


async def test_every_rule_can_be_asked_though_one_blocks() -> None:
    rules = policy(input=[WORDS, PII, {"type": "max_length", "max_characters": 5}])
    first = await rules.check(GUARDRAIL_STAGE_INPUT, "aurora ada@example.com")
    assert (first.blocked, len(first.verdicts)) == (True, 1)
    every = await rules.check(GUARDRAIL_STAGE_INPUT, "aurora ada@example.com", every=True)
    assert (every.blocked, every.text) == (True, "")
    assert every.places == ("guardrails.input[2]", "guardrails.input[0]", "guardrails.input[1]")
    assert [it.action == VERDICT_ACTION_ALLOW for it in every.verdicts] == [False, False, False]
