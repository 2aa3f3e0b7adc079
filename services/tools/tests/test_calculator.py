"""The calculator: what it computes, what it refuses, and that no expression costs more than a moment."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.resources.builtin_tools import BUILTINS, LONGEST_EXPRESSION
from astromesh_tools.builtin.arithmetic import FUNCTIONS
from astromesh_tools.builtin.calculator import calculated


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0.1 + 0.2", "0.3"),
        ("19.99 * 3", "59.97"),
        ("(1299.90 - 200) * 1.081", "1188.9919"),
        ("100 * 1.15", "115"),
        ("2 ** 200", str(2**200)),
        ("10 / 4", "2.5"),
        ("10 / 5", "2"),
        ("1 / 3", "0." + "3" * 30),
        ("-7 // 2", "-4"),
        ("-7.5 // 2", "-4"),
        ("-7 % 3", "2"),
        ("-7.5 % 2", "0.5"),
        ("-2 ** 2", "-4"),
        ("2 ** -1", "0.5"),
        ("= 1_000 + 1", "1001"),
        ("round(2.5)", "3"),
        ("round(-2.675, 2)", "-2.68"),
        ("round(1250, -2)", "1300"),
        ("floor(-1.5)", "-2"),
        ("ceil(-1.5)", "-1"),
        ("abs(-3) + max(1, 2.5) + min(4, 5)", "9.5"),
        ("sum([1, 2, 3.5])", "6.5"),
        ("mean(1, 2)", "1.5"),
        ("sqrt(16)", "4"),
        ("sqrt(2) ** 2", "2"),
        ("ln(e)", "1"),
        ("log(8, 2) + log2(1024) + log10(1000)", "16"),
        ("sin(pi) + cos(0)", "1"),
        ("sin(pi / 6)", "0.5"),
        ("degrees(pi)", "180"),
        ("factorial(20)", str(math.factorial(20))),
        ("gcd(12, 18) + lcm(4, 6)", "18"),
        ("1e40 * 1e40", "1e+80"),
        ("12345678901234567890.12 * 1", "12345678901234567890.12"),
    ],
)
def test_computes(expression: str, value: str) -> None:
    assert calculated(expression) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / 0", "divides by zero"),
        ("5 % 0", "divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("2 ^ 3", "write **"),
        ("1,000 + 2", "without commas"),
        ("sqrt(-1)", "no real value"),
        ("log(0)", "above 0"),
        ("acos(2)", "no real value"),
        ("9 ** 9 ** 9", "too large"),
        ("2 ** 100000", "too large"),
        ("1.5 ** 1e9", "too large"),
        ("exp(1e9)", "too large"),
        ("floor(1e6000)", "too large"),
        ("factorial(100000)", "from 0 to 800"),
        ("factorial(2.5)", "from 0 to 800"),
        ("tau", "there are the constants pi, e"),
        ("sqrt", "is a function"),
        ("sqrt(1, 2)", "does not take 2"),
        ("hypot(3, 4)", "there is no function"),
        ("1 +", "no arithmetic expression"),
        ("", "no arithmetic expression"),
        ("-" * 200 + "1", "levels deep"),
        ("(" * 300 + "1" + ")" * 300, "no arithmetic expression"),
        ("1 < 2", "no comparisons"),
        ("__import__('os').system('id')", "is not arithmetic"),
        ("().__class__.__bases__", "is not arithmetic"),
        ("[x for x in (1, 2)]", "is not arithmetic"),
        ("round(ndigits=2, number=1)", "is not arithmetic"),
        ("lambda: 1", "is not arithmetic"),
        ("'a' * 9", "is not arithmetic"),
        ("True + 1", "is not arithmetic"),
        ("2j", "is not arithmetic"),
        ("1 if 1 else 2", "is not arithmetic"),
        ("(a := 1)", "is not arithmetic"),
    ],
)
def test_refuses_with_a_reason(expression: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        calculated(expression)
    assert reason in caught.value.message


def test_a_model_is_told_every_function() -> None:
    told = str(BUILTINS["calculator"].parameters)
    assert [name for name in FUNCTIONS if name not in told] == []


@given(st.text(alphabet="0123456789.+-*/%()e ,<fact", max_size=60))
def test_nothing_takes_long_and_nothing_else_is_raised(text: str) -> None:
    begun = time.monotonic()
    with suppress(AstromeshError):
        calculated(text)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("piece", ["9**9**", "factorial(800)*", "1.1**9999*", "exp(9999)*"])
def test_the_longest_expressions_take_a_moment(piece: str) -> None:
    text = (piece * LONGEST_EXPRESSION)[: LONGEST_EXPRESSION // len(piece) * len(piece) - len(piece)] + "1"
    begun = time.monotonic()
    with pytest.raises(InvalidInput):
        calculated(text)
    assert time.monotonic() - begun < 5


_integers = st.integers(-(10**30), 10**30)


@given(_integers, _integers, st.sampled_from("+-*"))
def test_whole_numbers_are_exact(a: int, b: int, operator: str) -> None:
    expected = {"+": a + b, "-": a - b, "*": a * b}[operator]
    assert calculated(f"({a}) {operator} ({b})") == str(expected)


@given(_integers, _integers.filter(bool))
def test_a_quotient_is_right_to_the_digits_shown(a: int, b: int) -> None:
    shown, exact = Fraction(calculated(f"({a}) / ({b})")), Fraction(a, b)
    assert abs(shown - exact) <= abs(exact) / 10**29


def test_a_long_sum_is_no_deep_one() -> None:
    assert calculated(" + ".join(["1"] * 200)) == "200"
    assert calculated("100" + " - 1" * 60 + " * 2") == "39"
    with pytest.raises(InvalidInput, match="levels deep"):
        calculated("1-(" * 60 + "1" + ")" * 60)
