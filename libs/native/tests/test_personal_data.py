"""What a scan finds and what it leaves alone, in either implementation, and that the twin's time is linear."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

from astromesh_native.calling_codes import CALLING_CODES
from astromesh_native.choice import RUST
from astromesh_native.numbering import NumberingPlan
from astromesh_native.personal_data import Scanner, scanner
from astromesh_native.scan_tables import SECRETS
from astromesh_native.spans import ENTITIES, Entity, Span, disjoint
from astromesh_native.twins.personal_data.checksums import is_card_number, is_iban, passes_luhn

Scan = Callable[[Entity, str], list[str]]
IMPLEMENTATIONS = [False, pytest.param(True, marks=pytest.mark.skipif(not RUST, reason="the extension is not built"))]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["python", "rust"])
def scan(request: pytest.FixtureRequest) -> Scan:
    rust: bool = request.param

    def found(entity: Entity, text: str) -> list[str]:
        return [text[start:end] for start, end, _ in scanner((entity,), (), rust=rust).scan(text)]

    return found


PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("entity", "text", "expected"),
    [
        ("email", "Mail ada.l+x@mail.example.co.uk.", ["ada.l+x@mail.example.co.uk"]),
        ("email", "<jürgen@müller.de>", ["jürgen@müller.de"]),
        ("email", "u\u0308mit@example.com", ["u\u0308mit@example.com"]),
        ("email", "-" * 80 + "bob@example.com", ["bob@example.com"]),
        ("email", "a@b, @handle, x@localhost, a@@b.de", []),
        ("email", "→ada@example.com”, bob@example.com谢谢", ["ada@example.com", "bob@example.com"]),
        ("email", "icon@2x.png, logo@3x.PNG", []),
        ("ip_address", "from 10.1.2.3, not 1.2.3.4.5 or 256.1.1.1", ["10.1.2.3"]),
        ("ip_address", "2001:db8::8a2e:370:7334 at 12:30:45, std::vector", ["2001:db8::8a2e:370:7334"]),
        ("ip_address", "It is fe80::1:2: restart 2001:db8::1.", ["fe80::1:2", "2001:db8::1"]),
        ("ip_address", "v1.2.3.4, 00:1a:2b:3c:4d:5e, 01.2.3.4", []),
        ("iban", "Pay DE89 3704 0044 0532 0130 00 NOW", ["DE89 3704 0044 0532 0130 00"]),
        ("iban", "gb82west12345698765432", ["gb82west12345698765432"]),
        ("iban", "DE88 3704 0044 0532 0130 00", []),
        ("credit_card", "card 4111 1111 1111 1111, exp 12/29", ["4111 1111 1111 1111"]),
        ("credit_card", "12345 5500-0055-5555-5559", ["5500-0055-5555-5559"]),
        ("credit_card", "378282246310005", ["378282246310005"]),
        ("credit_card", "4111 1111 1111 1112 and 41111111111111111111111", []),
        ("us_ssn", "SSN 219-09-9999", ["219-09-9999"]),
        ("us_ssn", "000-12-3456 666-12-3456 900-12-3456 219-09 9999 219099999", []),
        ("phone", "Call +44 20 7946 0958.", ["+44 20 7946 0958"]),
        ("phone", "0044 20 7946 0958", ["0044 20 7946 0958"]),
        ("phone", "+44 (0)20 7946 0958", ["+44 (0)20 7946 0958"]),
        ("phone", "020 7946 0958, +999 1234567, C++ 20 2312 3111", []),
        ("secret", "key=sk-proj-abcdefghijklmnopqrst.", ["sk-proj-abcdefghijklmnopqrst"]),
        ("secret", "AKIAIOSFODNN7EXAMPLE", ["AKIAIOSFODNN7EXAMPLE"]),
        ("secret", "ghp_" + "a" * 36, ["ghp_" + "a" * 36]),
        ("secret", "Authorization: Bearer abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqrstuvwxyz"]),
        ("secret", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln"]),
        ("secret", "sk-short, task-abcdefghijklmnopqrstuvwx, AKIAIOSFODNN7EXAMPLES", []),
        ("secret", f"x {PRIVATE_KEY} y", [PRIVATE_KEY]),
        ("secret", "-----BEGIN PRIVATE KEY-----\nMII", ["-----BEGIN PRIVATE KEY-----\nMII"]),
        ("secret", "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----", []),
    ],
)
def test_finds_exactly_this(scan: Scan, entity: Entity, text: str, expected: list[str]) -> None:
    assert scan(entity, text) == expected


@pytest.mark.parametrize("shape", SECRETS, ids=[shape.prefix for shape in SECRETS])
def test_finds_the_shortest_key_of_each_issuer_and_nothing_shorter(
    scan: Scan, shape: tuple[str, str, int, int]
) -> None:
    prefix, alphabet, least, _ = shape
    body = ("A" if alphabet == "upper" else "a") * least
    assert scan("secret", f"token: {prefix}{body}, kept") == [prefix + body]
    assert scan("secret", f"token: {prefix}{body[1:]}, kept") == []


def test_no_prefix_of_a_key_begins_with_another() -> None:
    prefixes = [shape.prefix for shape in SECRETS]
    assert not [(one, other) for one in prefixes for other in prefixes if one != other and one.startswith(other)]


def test_calling_codes_are_those_of_the_library() -> None:
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        shapes = [
            PhoneMetadata.metadata_for_nongeo_region(code)
            if region == "001"
            else PhoneMetadata.metadata_for_region(region)
            for region in regions
        ]
        lengths = {
            length for shape in shapes if shape and shape.general_desc for length in shape.general_desc.possible_length
        }
        assert CALLING_CODES[str(code)] == lengths, f"{code}: take the lengths of the installed phonenumbers"
    assert len(CALLING_CODES) == len(COUNTRY_CODE_TO_REGION_CODE)


def test_check_digits_catch_every_single_wrong_digit() -> None:
    for place in range(16):
        wrong = list("4111111111111111")
        wrong[place] = str((int(wrong[place]) + 1) % 10)
        assert not passes_luhn("".join(wrong))
    assert is_iban("DE89370400440532013000")
    assert not is_iban("DE89370400440532013001")
    assert not is_card_number("9999999999999995")


TWIN: Scanner = scanner(ENTITIES, (), rust=False)
HOSTILE = [
    "a", "@", "a@", "1", "@a.", "a.", "a:", ":", "-", " ", "eyJaaaaaaaaaaa.-", "-----BEGIN PRIVATE KEY-----a",
    "Bearer ", "sk-", "DE8", "+", "( ", "+1 ", "1a", "é@", "\n",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_megabyte_of_anything_takes_the_twin_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    begun = time.process_time()
    assert len(TWIN.scan(text)) <= len(text)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("unit", ["1 ", "12 34 ", "1.1.", "DE89 ", "4111 ", "00 "])
def test_many_candidates_cost_the_twin_in_proportion_to_the_text(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    begun = time.process_time()
    assert len(TWIN.scan(text)) <= len(text)
    assert time.process_time() - begun < 5


def test_random_digits_cost_the_twin_in_proportion_to_the_text() -> None:
    dice = random.Random(7)
    text = "".join(dice.choice("0123456789 .-+") for _ in range(200_000))
    begun = time.process_time()
    assert all(span.start < span.end for span in TWIN.scan(text))
    assert time.process_time() - begun < 10


def span_from(start: int, length: int, kind: str) -> Span:
    return Span(start, start + length, kind)


spans = st.builds(span_from, st.integers(0, 40), st.integers(1, 10), st.sampled_from("AB"))


@given(st.lists(spans))
def test_disjoint_spans_cover_what_the_given_ones_cover(given_spans: Sequence[Span]) -> None:
    result = disjoint(given_spans, ("A", "B"))
    assert {i for s in result for i in range(s.start, s.end)} == {i for s in given_spans for i in range(s.start, s.end)}
    assert all(left.end <= right.start for left, right in pairwise(result))


def test_the_surer_kind_names_an_overlap() -> None:
    assert disjoint([Span(0, 6, "B"), Span(2, 9, "A")], ("A", "B")) == [Span(0, 9, "A")]


@pytest.mark.parametrize("rust", IMPLEMENTATIONS)
def test_a_plan_whose_shape_is_no_expression_is_refused(rust: bool) -> None:
    with pytest.raises(ValueError, match=r"\(5"):
        scanner(("phone",), (NumberingPlan("", False, frozenset({9}), ("(5",), False),), rust=rust)
