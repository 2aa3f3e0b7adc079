"""Rust finds exactly what its twin finds, in any text."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astromesh_native.choice import CHOICE
from astromesh_native.numbering import NumberingPlan
from astromesh_native.personal_data import Scanner, scanner
from astromesh_native.scan_tables import CARD_RANGES, IBAN_LENGTHS, SECRETS, SecretShape
from astromesh_native.spans import ENTITIES, Entity

pytestmark = pytest.mark.skipif(not CHOICE.rust, reason=f"twins alone: {CHOICE.reason}")

PLANS = (
    NumberingPlan("1", False, frozenset({10}), (r"[2-9]\d{9}|3\d{6}", r"(?:20[1-9]|4\d\d)[2-9]\d{6}"), True),
    NumberingPlan("0", True, frozenset({7, 9, 10}), (r"[1-357-9]\d{9}|[18]\d{8}|8\d{6}",), False),
    NumberingPlan("", False, frozenset(range(6, 12)), (r"0\d{5,10}|[13-7]\d{5,9}",), False),
)  # fmt: skip


@cache
def both(entities: tuple[Entity, ...], plans: Sequence[NumberingPlan]) -> tuple[Scanner, Scanner]:
    return scanner(entities, plans, rust=True), scanner(entities, plans, rust=False)


def agree(text: str, entities: tuple[Entity, ...] = ENTITIES) -> None:
    for plans in (PLANS, ()):
        rust, twin = both(entities, plans)
        assert rust.scan(text) == twin.scan(text)


# What findings are made of, so that a text of a few of them is often one, or almost one.
PIECES = (
    *"0123456789@:.-+()/ _#x\u00a0\r\n\0",
    *("ada", "example", ".com", "@", "@2x.png", ".co.uk", "xn--p1ai"),
    *("müller", "é", "e\u0301", "谢谢", "🙂", "👩‍👩‍👧", "שלום", "مرحبا", "\u202e"),
    *("+1", "+44", "(0)", "00", "020", "7946", "0958", "415", "555", "2671", "ext"),
    *("2026", "01", "31", "192.168", "255"),
    *("::", "2001:db8", "ffff", "fe80", "dead", "beef", "1.2.3.4"),
    *("4111", "1111", "378282", "246310005", "219-09-9999"),
    *("DE89", "3704", "0044", "0532", "0130", "00", "gb82", "west", "12345698765432"),
    *("sk-", "AKIA", "ghp_", "SG.", "eyJ", "Bearer ", "bearer", "a" * 10, "A" * 16, "f" * 32, "0" * 36, "=="),
    *("-----BEGIN ", "-----END ", "RSA ", "PRIVATE KEY", " BLOCK", "-----", "----", "hooks.slack.com/services/"),
    *("\ud83d", "\udc00", "İ", "ß", "K", "ﬀ", "٣", "²", "½", "Ⅷ"),
)  # fmt: skip


@given(st.text())
@settings(max_examples=300)
def test_any_text(text: str) -> None:
    agree(text)


@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@settings(max_examples=500)
@example("ada@example.com1 ada@a.b_ ada@" + "a" * 63 + ".de x@" + "a" * 64 + ".de")
@example("a" * 70 + "@example.com")
@example("-----BEGIN PRIVATE KEY-----" + "é" * 10_001 + "-----END PRIVATE KEY-----")
@example(
    "1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 ::1:2:3:4:5:6:7:8 ::ffff:1.2.3.4 ::ffff:01.2.3.4 1::2::3 12345::1 fe80::1%eth0"
)
def test_texts_of_what_findings_are_made_of(text: str) -> None:
    agree(text)


@given(st.text("0123456789 ()+./-\u00a0x#:", max_size=60))
@settings(max_examples=400)
def test_numbers_and_their_separators(text: str) -> None:
    agree(text)


@given(st.text("0123456789abcdefABCDEF:.g", max_size=50))
@settings(max_examples=400)
def test_internet_addresses(text: str) -> None:
    agree(text, ("ip_address",))


@given(st.text("aZ9é谢.-_@ +'\u3000", max_size=90))
@settings(max_examples=300)
def test_mail_addresses(text: str) -> None:
    agree(text, ("email",))


@given(st.sampled_from(ENTITIES), st.lists(st.sampled_from(PIECES), max_size=15).map("".join))
def test_each_entity_alone(entity: Entity, text: str) -> None:
    agree(text, (entity,))


@given(st.sampled_from(SECRETS), st.sampled_from((-1, 0, 1)), st.sampled_from(("", " ", "-", "_", ".", "é", "a")))
@settings(max_examples=400)
def test_keys_at_the_bounds_of_their_length(shape: SecretShape, more: int, around: str) -> None:
    prefix, _, least, most = shape
    for length in (least, most or least):
        agree(f"{around}{prefix}{'a' * (length + more)}{around}", ("secret",))
        agree(f"{around}{prefix}{'A' * (length + more)}{around}", ("secret",))


@pytest.mark.parametrize("country", sorted(IBAN_LENGTHS))
def test_accounts_of_every_country(country: str) -> None:
    found = 0
    for check in range(100):
        compact = f"{country}{check:02}".ljust(IBAN_LENGTHS[country], "0")
        grouped = " ".join(compact[place : place + 4] for place in range(0, len(compact), 4))
        for text in (compact, grouped.lower(), f"{grouped}0", f"é{grouped}é"):
            agree(text, ("iban",))
            found += len(both(("iban",), ())[0].scan(text))
    assert found >= 3


@pytest.mark.parametrize("low", [low for low, _, _ in CARD_RANGES])
def test_cards_of_every_scheme(low: str) -> None:
    found = 0
    for length in range(12, 21):
        for last in "0123456789":
            digits = low.ljust(length - 1, "0") + last
            agree(f"{digits} {digits[:4]}-{digits[4:]}", ("credit_card",))
            found += bool(both(("credit_card",), ())[0].scan(digits))
    assert found


HOSTILE = [
    "a", "@", "a@", "1", "@a.", "a.", "a:", ":", "-", " ", "é@", "\n", "\0", "\r\n", "eyJaaaaaaaaaaa.-", "1 ", "1.1.",
    "-----BEGIN PRIVATE KEY-----a", "-----BEGIN ", "Bearer ", "sk-", "DE8", "DE89 ", "+", "( ", "+1 ", "1a", "4111 ",
    "12 34 ", "f:", "1:", "SG.a.", "🙂", "e\u0301", "שלום ", "hooks.slack.com/services/",
]  # fmt: skip


@pytest.mark.parametrize("unit", HOSTILE)
def test_repeated_without_end(unit: str) -> None:
    agree(unit * (20_000 // len(unit)))


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


@pytest.mark.parametrize("unit", HOSTILE)
def test_rust_takes_time_in_proportion_to_a_hostile_text(unit: str) -> None:
    rust, _ = both(ENTITIES, PLANS)
    text = unit * (2_000_000 // len(unit))
    assert seconds(lambda: rust.scan(text)) < 5


@pytest.mark.parametrize("character", ["a", "7", "\u05d0"])
def test_ten_megabytes_without_a_separator(character: str) -> None:
    rust, twin = both(ENTITIES, PLANS)
    text = character * 10_000_000
    assert rust.scan(text) == twin.scan(text) == []


def test_noise() -> None:
    dice = random.Random(7)
    for alphabet in ("0123456789 .-+", "0123456789abcdef-:", "ab@.é ", "".join(map(chr, range(0x250)))):
        agree("".join(dice.choice(alphabet) for _ in range(50_000)))
