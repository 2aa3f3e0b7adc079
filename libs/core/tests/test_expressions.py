"""Conditions over the arguments of a call."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from astromesh_core.errors import InvalidInput
from astromesh_core.expressions import Condition


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("amount > 100", {"amount": 101}, True),
        ("amount > 100", {"amount": 100}, False),
        ('to.endswith("@example.com")', {"to": "ada@example.com"}, True),
        ('address.country not in ["DE", "FR"]', {"address": {"country": "US"}}, True),
        ("arguments | length > 1 and dry_run is not defined", {"a": 1, "b": 2}, True),
        ("note | default('') | length > 3", {}, False),
        ('arguments.get("amount", 0) > 5', {"amount": 7}, True),
        ("arguments == 3", {"arguments": 3}, True),
        ("amount * 2 > 100", {"amount": 51}, True),
        ("lines | map(attribute='price') | sum > 9", {"lines": [{"price": 4}, {"price": 6}]}, True),
        ("name | lower in ['ada', 'bob']", {"name": "Ada"}, True),
    ],
)
def test_a_condition_is_asked_of_a_calls_arguments(text: str, arguments: dict[str, JsonValue], expected: bool) -> None:
    assert Condition.parse(text).holds(arguments, otherwise=not expected) is expected


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("amount > 100", {}),
        ("amount > 100", {"amount": "many"}),
        ("amount", {}),
        ("10 / amount > 1", {"amount": 0}),
        ("text * 1000000000 == text", {"text": "a"}),
        ("2 ** amount > 1", {"amount": 10**9}),
        ("'%1000000000d' % amount == ''", {"amount": 1}),
        ("arguments.update({'amount': 0}) or amount > 0", {"amount": 1}),
        ("''.__class__.__mro__ | length > 0", {}),
        ("range(3) | list | length == 3", {}),
        ("text.ljust(amount) == text", {"text": "a", "amount": 10**10}),
        ("'{:>{n}}'.format(1, n=amount) == text", {"text": "a", "amount": 10**10}),
    ],
)
@pytest.mark.parametrize("otherwise", [True, False])
def test_where_nobody_can_tell_the_callers_safe_side_counts(
    text: str, arguments: dict[str, JsonValue], otherwise: bool
) -> None:
    assert Condition.parse(text).holds(arguments, otherwise=otherwise) is otherwise


@pytest.mark.parametrize(
    "text", ["", "   ", "amount >", "amount > 1 }}{{ 2", "{% if a %}", "a | nosuchfilter", "a | center(b)", "x" * 2_001]
)
def test_what_is_no_expression_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(InvalidInput, match="expression"):
        Condition.parse(text)


def test_a_condition_tells_which_arguments_it_names() -> None:
    assert Condition.parse("amount > 1 and arguments.to == to").names == {"amount", "to"}
