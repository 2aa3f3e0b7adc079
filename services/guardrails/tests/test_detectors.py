"""What each detector finds, what it leaves alone, and that its time is linear."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_guardrails.checksums import is_card_number, is_iban, passes_luhn
from astromesh_guardrails.detectors.accounts import cards, ibans, social_security_numbers
from astromesh_guardrails.detectors.addresses import emails, ip_addresses
from astromesh_guardrails.detectors.phones import phones
from astromesh_guardrails.detectors.secrets import secrets
from astromesh_guardrails.spans import Span, disjoint, redact

Detector = Callable[[str], Iterable[Span]]


def phones_of(*countries: str) -> Detector:
    return lambda text: phones(text, countries)


def found(detector: Detector, text: str) -> list[str]:
    return [text[start:end] for start, end, _ in detector(text)]


@pytest.mark.parametrize(
    ("detector", "text", "expected"),
    [
        (emails, "Mail ada.l+x@mail.example.co.uk.", ["ada.l+x@mail.example.co.uk"]),
        (emails, "<jürgen@müller.de>", ["jürgen@müller.de"]),
        (emails, "-" * 80 + "bob@example.com", ["bob@example.com"]),
        (emails, "a@b, @handle, x@localhost, a@@b.de", []),
        (ip_addresses, "from 10.1.2.3, not 1.2.3.4.5 or 256.1.1.1", ["10.1.2.3"]),
        (ip_addresses, "2001:db8::8a2e:370:7334 at 12:30:45, std::vector", ["2001:db8::8a2e:370:7334"]),
        (ibans, "Pay DE89 3704 0044 0532 0130 00 NOW", ["DE89 3704 0044 0532 0130 00"]),
        (ibans, "gb82west12345698765432", ["gb82west12345698765432"]),
        (ibans, "DE88 3704 0044 0532 0130 00", []),
        (cards, "card 4111 1111 1111 1111, exp 12/29", ["4111 1111 1111 1111"]),
        (cards, "12345 5500-0055-5555-5559", ["5500-0055-5555-5559"]),
        (cards, "378282246310005", ["378282246310005"]),
        (cards, "4111 1111 1111 1112 and 41111111111111111111111", []),
        (social_security_numbers, "SSN 219-09-9999", ["219-09-9999"]),
        (social_security_numbers, "000-12-3456 666-12-3456 900-12-3456 219-09 9999 219099999", []),
        (phones_of(), "Call +44 20 7946 0958.", ["+44 20 7946 0958"]),
        (phones_of(), "0044 20 7946 0958", ["0044 20 7946 0958"]),
        (phones_of(), "020 7946 0958", []),
        (phones_of("GB"), "020 7946 0958", ["020 7946 0958"]),
        (phones_of("US"), "555-123-4567 or (650) 253-0000 on 2024-01-02 12", ["555-123-4567", "650) 253-0000"]),
        (phones_of("FR"), "le 06 12 34 56 78", ["06 12 34 56 78"]),
        (secrets, "key=sk-proj-abcdefghijklmnopqrst.", ["sk-proj-abcdefghijklmnopqrst"]),
        (secrets, "AKIAIOSFODNN7EXAMPLE", ["AKIAIOSFODNN7EXAMPLE"]),
        (secrets, "ghp_" + "a" * 36, ["ghp_" + "a" * 36]),
        (secrets, "Authorization: Bearer abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqrstuvwxyz"]),
        (secrets, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln"]),
        (secrets, "sk-short, task-abcdefghijklmnopqrstuvwx", []),
        (
            secrets,
            "x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- y",
            ["-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----"],
        ),
    ],
)
def test_finds_exactly_this(detector: Detector, text: str, expected: list[str]) -> None:
    assert found(detector, text) == expected


def test_check_digits_catch_every_single_wrong_digit() -> None:
    for place in range(16):
        wrong = list("4111111111111111")
        wrong[place] = str((int(wrong[place]) + 1) % 10)
        assert not passes_luhn("".join(wrong))
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532013001")
    assert not is_card_number("9999999999999995")


SINGLE: list[Detector] = [emails, ip_addresses, ibans, cards, social_security_numbers, secrets, phones_of("US", "FR")]
HOSTILE = [
    "a", "@", "a@", "1", "@a.", "a.", "a:", ":", "-", " ", "eyJaaaaaaaaaaa.-", "-----BEGIN PRIVATE KEY-----a",
    "Bearer ", "sk-", "DE8", "+", "( ", "+1 ", "1a", "é@", "\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_megabyte_of_anything_takes_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    for detector in SINGLE:
        assert sum(1 for _ in detector(text)) <= len(text)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("unit", ["1 ", "12 34 ", "1.1.", "DE89 ", "4111 ", "00 "])
def test_many_candidates_cost_in_proportion_to_the_text(unit: str) -> None:
    def seconds(characters: int) -> float:
        text = unit * (characters // len(unit))
        started = time.process_time()
        for detector in SINGLE:
            assert sum(1 for _ in detector(text)) <= len(text)
        return time.process_time() - started

    seconds(1_000)
    assert seconds(100_000) < 5


def test_random_digits_stay_linear() -> None:
    dice = random.Random(7)
    text = "".join(dice.choice("0123456789 .-+") for _ in range(200_000))
    started = time.perf_counter()
    for detector in SINGLE:
        assert all(span.start < span.end for span in detector(text))
    assert time.perf_counter() - started < 10


def span_from(start: int, length: int, kind: str) -> Span:
    return Span(start, start + length, kind)


spans = st.builds(span_from, st.integers(0, 40), st.integers(1, 10), st.sampled_from("AB"))


@given(st.lists(spans))
def test_disjoint_spans_cover_what_the_given_ones_cover(given_spans: list[Span]) -> None:
    result = disjoint(given_spans, ("A", "B"))
    assert {i for s in result for i in range(s.start, s.end)} == {i for s in given_spans for i in range(s.start, s.end)}
    assert all(left.end <= right.start for left, right in pairwise(result))


def test_the_surer_kind_names_an_overlap() -> None:
    assert disjoint([Span(0, 6, "B"), Span(2, 9, "A")], ("A", "B")) == [Span(0, 9, "A")]


def test_redaction_writes_the_kind_in_brackets() -> None:
    assert redact("ab cd ef", [Span(0, 2, "X"), Span(6, 8, "Y")]) == "[X] cd [Y]"
