"""Finds e-mail addresses and IP addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from astromesh_native.scan_tables import FILE_ENDINGS
from astromesh_native.spans import Span
from astromesh_native.twins.letters import BEYOND_ASCII, LETTERS_AND_DIGITS

# RFC 5321: local part at most 64 octets, a label at most 63. All bounded, and tried only behind an "@".
_LABEL: Final = re.compile(rf"[{LETTERS_AND_DIGITS}](?:[{LETTERS_AND_DIGITS}_-]{{0,61}}[{LETTERS_AND_DIGITS}])?\.")
_TOP_LEVEL: Final = re.compile(rf"xn--[A-Za-z0-9-]{{2,59}}|[A-Za-z]{{2,63}}|[{BEYOND_ASCII}]{{2,63}}")
_MOST_LABELS: Final = 10
_LOCAL_CHARACTER: Final = re.compile(rf"[{LETTERS_AND_DIGITS}.!#$%&'*+/=?^_`{{|}}~-]")
_LETTER_OR_DIGIT: Final = re.compile(f"[{LETTERS_AND_DIGITS}]")
_LONGEST_LOCAL_PART: Final = 64

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\w|\.\d)", re.ASCII)
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:.]++(?!\w)", re.ASCII)
_LONGEST_IPV6: Final = 45


def emails(text: str) -> Iterator[Span]:
    """Yields e-mail addresses (RFC 5321 without quoted local parts; RFC 6531's international letters)."""
    at = text.find("@")
    while at >= 0:
        end = _domain_end(text, at)
        if end:
            start = _local_part_start(text, at)
            if start < at:
                yield Span(start, end, "EMAIL")
        at = text.find("@", at + 1)


def _domain_end(text: str, at: int) -> int:
    """The place behind the longest domain that begins after the "@"; 0 where there is none."""
    place, end = at + 1, 0
    for _ in range(_MOST_LABELS):
        label = _LABEL.match(text, place)
        if label is None:
            break
        place = label.end()
        top = _TOP_LEVEL.match(text, place)
        if top is not None and top[0].lower() not in FILE_ENDINGS:
            end = top.end()
    return end


def _local_part_start(text: str, at: int) -> int:
    start = at
    lowest = max(0, at - _LONGEST_LOCAL_PART)
    while start > lowest and _LOCAL_CHARACTER.match(text, start - 1):
        start -= 1
    while start < at and not _LETTER_OR_DIGIT.match(text, start):
        start += 1
    return start


def ip_addresses(text: str) -> Iterator[Span]:
    """Yields IPv4 addresses in dotted form and IPv6 addresses (RFC 4291)."""
    if text.count(".") >= 3:
        yield from (Span(*found.span(), "IP_ADDRESS") for found in _IPV4.finditer(text))
    if text.count(":") >= 2:
        yield from (span for found in _IPV6.finditer(text) if (span := _ipv6(*found.span(), text)))


def _ipv6(start: int, end: int, text: str) -> Span | None:
    """The address in a run of hexadecimal digits, colons and dots, less the punctuation that ends a sentence."""
    if end - start > _LONGEST_IPV6 + 4:
        return None
    candidate = text[start:end].rstrip(".")
    if candidate.endswith(":") and not candidate.endswith("::"):
        candidate = candidate[:-1]
    # "::" and "a::b" are more often code than an address.
    if candidate.count(":") < 2 or sum(map(str.isalnum, candidate)) < 3:
        return None
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return None
    return Span(start, start + len(candidate), "IP_ADDRESS")
