"""Rules in their order, what they make of a text, and what cannot be compiled."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_INPUT,
    GUARDRAIL_STAGE_OUTPUT,
    GUARDRAIL_STAGE_UNSPECIFIED,
)
from astromesh.v1.values_pb2 import (
    VERDICT_ACTION_ALLOW,
    VERDICT_ACTION_BLOCK,
    VERDICT_ACTION_REDACT,
    VERDICT_ACTION_WARN,
)
from astromesh_core.errors import InvalidInput
from astromesh_core.resources.guardrail_rules import PiiKind
from astromesh_guardrails.policy import Policy
from astromesh_native.spans import ENTITIES

from .judging import actions, check, policy

INPUT = GUARDRAIL_STAGE_INPUT


def test_redaction_leaves_kinds_in_place_of_what_was_found() -> None:
    checked = check(policy({"type": "pii_detection"}), "ada@example.com pays with 4111 1111 1111 1111")
    assert checked.text == "[EMAIL] pays with [CREDIT_CARD]"
    assert actions(checked) == [VERDICT_ACTION_REDACT]
    assert [(f.kind, f.start, f.end) for f in checked.verdicts[0].findings] == [
        ("EMAIL", 0, 15),
        ("CREDIT_CARD", 26, 45),
    ]


def test_a_block_names_kinds_and_holds_no_text() -> None:
    checked = check(policy({"type": "pii_detection", "action": "block"}), "I am ada@example.com")
    assert checked.blocked
    assert checked.text == ""
    assert "EMAIL" in checked.reason
    assert "ada" not in checked.reason
    assert actions(checked) == [VERDICT_ACTION_BLOCK]


def test_a_warning_lets_the_text_through_with_its_findings() -> None:
    checked = check(policy({"type": "pii_detection", "action": "warn"}), "I am ada@example.com")
    assert checked.text == "I am ada@example.com"
    assert actions(checked) == [VERDICT_ACTION_WARN]


def test_a_clean_text_passes_unchanged() -> None:
    checked = check(policy({"type": "pii_detection"}, {"type": "max_length", "max_characters": 20}), "hello")
    assert (checked.text, checked.blocked, checked.reason) == ("hello", False, "")
    assert actions(checked) == [VERDICT_ACTION_ALLOW, VERDICT_ACTION_ALLOW]


def test_a_length_that_blocks_is_judged_before_anything_is_searched() -> None:
    rules = policy({"type": "pii_detection"}, {"type": "max_length", "max_characters": 10})
    checked = check(rules, "a@b.example " * 10)
    assert checked.blocked
    assert "120" in checked.reason
    assert [verdict.rule for verdict in checked.verdicts] == ["max_length"]


def test_truncation_counts_characters_not_bytes() -> None:
    rules = policy({"type": "max_length", "max_characters": 3, "action": "truncate"})
    checked = check(rules, "äöüß")
    assert checked.text == "äöü"
    assert not checked.blocked


def test_each_rule_sees_what_the_one_before_it_left() -> None:
    rules = policy({"type": "pii_detection"}, {"type": "max_length", "max_characters": 7, "action": "truncate"})
    assert check(rules, "ada@example.com and more").text == "[EMAIL]"


def test_only_the_named_kinds_are_looked_for() -> None:
    rules = policy({"type": "pii_detection", "kinds": ["email"]})
    assert check(rules, "a@b.example 10.0.0.1").text == "[EMAIL] 10.0.0.1"


def test_what_to_look_for_may_be_called_entities_and_an_unknown_one_is_refused() -> None:
    rules = policy({"type": "pii_detection", "entities": ["ip_address"]})
    assert check(rules, "a@b.example 10.0.0.1").text == "a@b.example [IP_ADDRESS]"
    assert rules.sha256 == policy({"type": "pii_detection", "kinds": ["ip_address"]}).sha256
    with pytest.raises(ValidationError, match=r"pii_detection\.entities\.0"):
        policy({"type": "pii_detection", "entities": ["passport"]})


def test_every_entity_of_the_scan_can_be_declared() -> None:
    assert get_args(PiiKind) == ENTITIES


def test_the_stages_have_rules_of_their_own() -> None:
    rules = policy({"type": "max_length", "max_characters": 1}, output=({"type": "pii_detection"},))
    assert check(rules, "ada@example.com").blocked
    assert check(rules, "ada@example.com", GUARDRAIL_STAGE_OUTPUT).text == "[EMAIL]"


def test_an_unnamed_stage_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check(policy(), "x", GUARDRAIL_STAGE_UNSPECIFIED)


def test_equal_rules_have_one_hash_and_other_rules_another() -> None:
    spelt = [{"type": "max_length", "maxCharacters": 5}, {"type": "max_length", "max_characters": 5, "action": "block"}]
    first, second = (policy(rule).sha256 for rule in spelt)
    assert first == second != policy({"type": "max_length", "max_characters": 6}).sha256


def test_a_country_without_numbering_plan_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"guardrails\.input\[0\]: XX"):
        policy({"type": "pii_detection", "countries": ["XX"]})


def words(action: str) -> Policy:
    return policy(
        {"type": "content_filter", "forbidden_keywords": ["internal_only", "Project Aurora"], "action": action}
    )


def test_forbidden_words_are_redacted_whatever_their_case() -> None:
    checked = check(words("redact"), "Project aurora is INTERNAL_ONLY; projects are not, nor internal_only2.")
    assert checked.text == "[KEYWORD] is [KEYWORD]; projects are not, nor internal_only2."
    assert [(f.kind, f.start, f.end) for f in checked.verdicts[0].findings] == [("KEYWORD", 0, 14), ("KEYWORD", 18, 31)]


def test_a_forbidden_word_blocks_and_is_not_repeated() -> None:
    checked = check(words("block"), "It is internal_only.")
    assert (checked.blocked, checked.text) == (True, "")
    assert "internal" not in checked.reason
    assert actions(checked) == [VERDICT_ACTION_BLOCK]


def test_a_forbidden_word_may_be_let_through_with_a_warning() -> None:
    checked = check(words("warn"), "It is internal_only.")
    assert (checked.blocked, checked.text) == (False, "It is internal_only.")
    assert actions(checked) == [VERDICT_ACTION_WARN]


@pytest.mark.parametrize("word", ["", " ", " x", "a  b"])
def test_a_forbidden_word_with_stray_space_is_refused(word: str) -> None:
    with pytest.raises(ValidationError, match="forbidden_keywords"):
        policy({"type": "content_filter", "forbidden_keywords": [word]})


@given(st.lists(st.sampled_from(["ada@example.com", "4111111111111111", "10.0.0.1", " ", "+1 650 253 0000", "x", "-"])))
def test_redacting_twice_changes_nothing_more(parts: list[str]) -> None:
    rules = policy({"type": "pii_detection"})
    once = check(rules, " ".join(parts)).text
    assert check(rules, once).text == once
