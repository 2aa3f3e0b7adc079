"""Finds API keys, tokens and private keys by the prefixes that their issuers gave them for this purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from astromesh_native.scan_tables import ALPHABETS, SECRETS, SecretShape
from astromesh_native.spans import Span


def _written(shape: SecretShape) -> str:
    alphabet = ALPHABETS[shape.alphabet]
    if shape.most:
        return rf"{re.escape(shape.prefix)}[{alphabet}]{{{shape.least},{shape.most}}}+(?![\w-])"
    return rf"{re.escape(shape.prefix)}[{alphabet}]{{{shape.least},}}+"


_KEY: Final = re.compile(rf"(?<![\w-])(?:{'|'.join(map(_written, SECRETS))})", re.ASCII)
# RFC 7519: three base64url parts, the first two JSON objects.
_JWT: Final = re.compile(r"(?<![\w.-])eyJ[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]*+", re.ASCII)
# RFC 6750.
_BEARER: Final = re.compile(r"(?<!\w)[Bb]earer ++([\w.~+/-]{20,}+=*+)", re.ASCII)
# RFC 7468; a block whose end was cut off counts up to the next dashes.
_PEM_LABEL: Final = r"[A-Z0-9 ]{0,30}?PRIVATE KEY(?: BLOCK)?-----"
_PEM: Final = re.compile(rf"-----BEGIN {_PEM_LABEL}(?:[^-]|-(?!----)){{0,10000}}+(?:-----END {_PEM_LABEL})?", re.ASCII)


def secrets(text: str) -> Iterator[Span]:
    """Yields API keys and tokens (`API_KEY`) and private keys in PEM (`PRIVATE_KEY`)."""
    yield from (Span(*found.span(), "API_KEY") for found in _KEY.finditer(text))
    if "eyJ" in text:
        yield from (Span(*found.span(), "API_KEY") for found in _JWT.finditer(text))
    if "earer " in text:
        yield from (Span(*found.span(1), "API_KEY") for found in _BEARER.finditer(text))
    if "-----BEGIN " in text:
        yield from (Span(*found.span(), "PRIVATE_KEY") for found in _PEM.finditer(text))
