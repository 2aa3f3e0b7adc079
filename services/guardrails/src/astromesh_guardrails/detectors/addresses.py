"""Finds e-mail addresses and IP addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from astromesh_guardrails.spans import Span

# RFC 5321: local part at most 64 octets, a label at most 63. All bounded, and tried only behind an "@".
_DOMAIN = re.compile(r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,10}(?:xn--[a-zA-Z0-9-]{2,59}|[^\W\d_]{2,63})")
_LOCAL_PUNCTUATION = frozenset(".!#$%&'*+/=?^_`{|}~-")
_LONGEST_LOCAL_PART = 64

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![\w.]){_OCTET}(?:\.{_OCTET}){{3}}(?!\w|\.\d)", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4})?(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.\d{1,3}){3})?(?![\w:])", re.ASCII
)


def emails(text: str) -> Iterator[Span]:
    """Yields e-mail addresses (RFC 5321 without quoted local parts; international letters allowed)."""
    if "@" not in text:
        return
    for domain in _DOMAIN.finditer(text):
        start = _local_part_start(text, domain.start())
        if start < domain.start():
            yield Span(start, domain.end(), "EMAIL")


def _local_part_start(text: str, at: int) -> int:
    start = at
    lowest = max(0, at - _LONGEST_LOCAL_PART)
    while start > lowest and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_PUNCTUATION):
        start -= 1
    while start < at and not text[start].isalnum():
        start += 1
    return start


def ip_addresses(text: str) -> Iterator[Span]:
    """Yields IPv4 addresses in dotted form and IPv6 addresses (RFC 4291)."""
    if text.count(".") >= 3:
        yield from (Span(*found.span(), "IP_ADDRESS") for found in _IPV4.finditer(text))
    if text.count(":") >= 2:
        yield from (Span(*found.span(), "IP_ADDRESS") for found in _IPV6.finditer(text) if _is_ipv6(found[0]))


def _is_ipv6(candidate: str) -> bool:
    if sum(map(str.isalnum, candidate)) < 3:
        return False  # "::", "a::b": more often code than an address
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return False
    return True
