"""Rules on what stands in a text: patterns, lengths in tokens, JSON."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from astromesh.v1.values_pb2 import VERDICT_ACTION_BLOCK, VERDICT_ACTION_REDACT, VERDICT_ACTION_WARN
from astromesh_core.events.token_estimates import text_tokens

from .judging import actions, check, kinds, policy

CODE = {"pattern": r"PRJ-\d{4}", "kind": "PROJECT"}


def test_a_pattern_is_redacted_under_its_own_name() -> None:
    checked = check(
        policy({"type": "content_filter", "forbidden_patterns": [CODE], "action": "redact"}), "See PRJ-1234."
    )
    assert checked.text == "See [PROJECT]."
    assert actions(checked) == [VERDICT_ACTION_REDACT]


def test_offsets_of_patterns_are_characters_not_bytes() -> None:
    checked = check(policy({"type": "content_filter", "patterns": ["x+"], "action": "redact"}), "äöü 🙂 xx!")
    assert checked.text == "äöü 🙂 [PATTERN]!"
    assert [(f.start, f.end) for f in checked.verdicts[0].findings] == [(6, 8)]


def test_half_a_character_hides_no_pattern() -> None:
    checked = check(policy({"type": "content_filter", "patterns": ["xx"], "action": "redact"}), "\ud83d xx")
    assert checked.text == "\ud83d [PATTERN]"


def test_of_several_patterns_the_strictest_action_decides_and_each_keeps_its_severity() -> None:
    rule = {
        "type": "content_filter",
        "forbidden_keywords": ["aurora"],
        "forbidden_patterns": [{**CODE, "severity": "critical", "action": "redact"}],
        "severity": "low",
        "action": "warn",
    }
    checked = check(policy(rule), "Aurora is PRJ-1234.")
    assert checked.text == "Aurora is [PROJECT]."
    assert actions(checked) == [VERDICT_ACTION_REDACT]
    assert [(f.kind, f.severity) for f in checked.verdicts[0].findings] == [("KEYWORD", "low"), ("PROJECT", "critical")]
    blocking = {**rule, "forbidden_patterns": [{**CODE, "action": "block"}]}
    assert check(policy(blocking), "Aurora is PRJ-1234.").blocked
    assert actions(check(policy(blocking), "Aurora it is.")) == [VERDICT_ACTION_WARN]


def test_findings_that_overlap_become_one() -> None:
    rule = {"type": "content_filter", "patterns": ["abc", {"pattern": "cde", "kind": "LATER"}], "action": "redact"}
    assert check(policy(rule), "xabcdey").text == "x[PATTERN]y"


def test_letters_of_any_case_match_where_the_pattern_says_so() -> None:
    rule = {"type": "content_filter", "patterns": [{"pattern": "größe", "ignore_case": True}]}
    assert check(policy(rule), "GRÖSSE GRÖßE").blocked
    assert not check(policy({"type": "content_filter", "patterns": ["größe"]}), "GRÖßE").blocked


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [(r"(?<=a)b", "RE2"), (r"(a)\1", "RE2"), ("(", r"missing \)"), ("a*", "empty text"), ("x" * 5000, "4096")],
)
def test_a_pattern_that_the_engine_does_not_take_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        policy({"type": "content_filter", "patterns": [pattern]})


def test_a_filter_that_forbids_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="forbids nothing"):
        policy({"type": "content_filter"})


def test_a_pattern_that_ruins_other_engines_takes_time_by_the_length_of_the_text() -> None:
    rules = policy({"type": "content_filter", "patterns": ["(a+)+$|(a|aa)+b"]})
    assert not check(rules, "a" * 15_000 + "!").blocked


def test_a_length_counts_tokens_where_it_is_given_in_tokens() -> None:
    text = "one two three four five six seven eight nine ten " * 3
    assert check(policy({"type": "max_length", "max_tokens": 10}), text).blocked
    cut = check(policy({"type": "max_length", "max_tokens": 10, "action": "truncate"}), text).text
    assert text.startswith(cut)
    assert text_tokens(cut) <= 10 < text_tokens(text[: len(cut) + 1])
    both = policy({"type": "max_length", "max_tokens": 10, "max_characters": 5, "action": "truncate"})
    assert check(both, text).text == text[:5]


def test_a_length_without_a_bound_is_refused() -> None:
    with pytest.raises(ValidationError, match="bounds nothing"):
        policy({"type": "max_length"})


FORM = {
    "type": "json_schema",
    "schema": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
}


def test_only_json_of_the_form_passes_and_the_reason_quotes_nothing() -> None:
    rules = policy(FORM)
    assert not check(rules, '{"age": 41}').blocked
    refused = check(rules, '{"age": "my secret"}')
    assert actions(refused) == [VERDICT_ACTION_BLOCK]
    assert "/age" in refused.reason
    assert "secret" not in refused.reason
    assert kinds(check(rules, "not json")) == ["JSON_SCHEMA"]
    warned = check(policy({**FORM, "action": "warn"}), "not json")
    assert (warned.text, actions(warned)) == ("not json", [VERDICT_ACTION_WARN])


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="json_schema"):
        policy({"type": "json_schema", "schema": {"type": "no such type"}})
