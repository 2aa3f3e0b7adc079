"""Numbering plans of countries as the scan applies them, and tags over what it finds."""

from __future__ import annotations

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_guardrails.numbering import numbering_plan
from astromesh_guardrails.spans import redact
from astromesh_native.choice import RUST
from astromesh_native.personal_data import scanner
from astromesh_native.spans import Span

IMPLEMENTATIONS = [False, pytest.param(True, marks=pytest.mark.skipif(not RUST, reason="the extension is not built"))]


@pytest.mark.parametrize("rust", IMPLEMENTATIONS, ids=["python", "rust"])
@pytest.mark.parametrize(
    ("countries", "text", "expected"),
    [
        ("", "020 7946 0958", []),
        ("GB", "020 7946 0958", ["020 7946 0958"]),
        ("US", "555-123-4567 or (650) 253-0000 on 2024-01-02 12", ["555-123-4567", "(650) 253-0000"]),
        ("US", "6502530000, 16502530000x12 and 650.253.0000", ["6502530000", "16502530000", "650.253.0000"]),
        ("US", "0.6502530000, e6502530000, #6502530000, 25/12/2024 10:30, /6502530000", []),
        ("US", "(call 650-253-0000) or (+1) 650 253 0000", ["650-253-0000", "(+1) 650 253 0000"]),
        ("US", "14162530000", ["14162530000"]),
        ("FR", "le 06 12 34 56 78", ["06 12 34 56 78"]),
        ("DE", "030 901820 und 0151 23456789, Auftrag 30123456", ["030 901820", "0151 23456789"]),
        ("IT", "06 69812345", ["06 69812345"]),
        ("IN", "98765 43210", ["98765 43210"]),
        ("GB FR", "06 12 34 56 78 / 020 7946 0958", ["06 12 34 56 78", "020 7946 0958"]),
    ],
)
def test_finds_the_numbers_of_the_named_countries(rust: bool, countries: str, text: str, expected: list[str]) -> None:
    scan = scanner(("phone",), [numbering_plan(country) for country in countries.split()], rust=rust).scan
    assert [text[start:end] for start, end, _ in scan(text)] == expected


def test_a_prefix_is_demanded_where_the_country_always_writes_it() -> None:
    assert {country: numbering_plan(country).required for country in ("US", "GB", "DE", "CN", "IT")} == {
        "US": False,
        "GB": True,
        "DE": True,
        "CN": False,
        "IT": False,
    }


def test_a_country_without_a_plan_is_refused() -> None:
    with pytest.raises(InvalidInput, match="XX has no numbering plan"):
        numbering_plan("XX")


def test_redaction_writes_the_kind_in_brackets() -> None:
    assert redact("ab cd ef", [Span(0, 2, "X"), Span(6, 8, "Y")]) == "[X] cd [Y]"
