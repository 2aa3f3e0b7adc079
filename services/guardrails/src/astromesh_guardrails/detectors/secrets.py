"""Finds API keys, tokens and private keys by the prefixes that their issuers gave them for this purpose."""

from __future__ import annotations

import re
from collections.abc import Iterator

from astromesh_guardrails.spans import Span

_KEY = re.compile(
    r"(?<![\w-])(?:"
    r"sk-[A-Za-z0-9_-]{20,}+"  # OpenAI, Anthropic, OpenRouter
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}+"  # Stripe
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?!\w)"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{36,}+|github_pat_[A-Za-z0-9_]{22,}+"  # GitHub
    r"|gl(?:pat|rt|dt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}+"  # GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{20,}+"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}(?![\w-])"  # Google
    r"|ya29\.[A-Za-z0-9_-]{20,}+"  # Google OAuth
    r"|hf_[A-Za-z0-9]{30,}+"  # Hugging Face
    r"|npm_[A-Za-z0-9]{36}(?!\w)"  # npm
    r"|pypi-[A-Za-z0-9_-]{50,}+"  # PyPI
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"  # SendGrid
    r"|EAA[A-Za-z0-9]{60,}+"  # Meta
    r")",
    re.ASCII,
)
# RFC 7519: three base64url parts, the first two JSON objects.
_JWT = re.compile(r"(?<![\w.-])eyJ[\w-]{10,}+\.eyJ[\w-]{10,}+\.[\w-]*+", re.ASCII)
# RFC 6750.
_BEARER = re.compile(r"(?<!\w)[Bb]earer +([\w.~+/-]{20,}+=*+)", re.ASCII)
# RFC 7468; a block whose end was cut off counts up to the next dashes.
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\s\S]){0,10000}+"
    r"(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?"
)


def secrets(text: str) -> Iterator[Span]:
    """Yields API keys and tokens (`API_KEY`) and private keys in PEM (`PRIVATE_KEY`)."""
    yield from (Span(*found.span(), "API_KEY") for found in _KEY.finditer(text))
    if "eyJ" in text:
        yield from (Span(*found.span(), "API_KEY") for found in _JWT.finditer(text))
    if "earer " in text:
        yield from (Span(*found.span(1), "API_KEY") for found in _BEARER.finditer(text))
    if "-----BEGIN" in text:
        yield from (Span(*found.span(), "PRIVATE_KEY") for found in _PEM.finditer(text))
