"""The check digits of payment cards and bank accounts."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Final

from astromesh_native.scan_tables import CARD_RANGES, IBAN_LENGTHS

_IBAN_DIGITS: Final = {ord(letter): str(value) for value, letter in enumerate(ascii_uppercase, 10)}
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether a payment scheme could have issued this number: its prefix, its length and its check digit."""
    issued = any(low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in CARD_RANGES)
    return issued and passes_luhn(digits)


def is_iban(compact: str) -> bool:
    """Whether an IBAN without separators, in either case, has its country's length and check digits (ISO 7064)."""
    if not (compact.isascii() and compact.isalnum()):
        return False
    upper = compact.upper()
    if IBAN_LENGTHS.get(upper[:2]) != len(upper):
        return False
    return int((upper[4:] + upper[:4]).translate(_IBAN_DIGITS)) % 97 == 1
