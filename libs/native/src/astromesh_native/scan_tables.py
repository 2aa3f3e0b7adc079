"""What issuers and standards say of the shapes that a scan looks for: data alone, read by both implementations."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from astromesh_native.calling_codes import CALLING_CODES

Alphabet = Literal["alphanumeric", "upper", "hex", "word", "dashed", "token", "dotted", "path"]
"""Of a secret's body: letters and digits; upper case and digits; lower-case hexadecimal; and letters and digits with
`_`, with `-`, with both, with both and `.`, or with `/`."""

ALPHABETS: Final[dict[Alphabet, str]] = {
    "alphanumeric": "A-Za-z0-9",
    "upper": "A-Z0-9",
    "hex": "a-f0-9",
    "word": "A-Za-z0-9_",
    "dashed": "A-Za-z0-9-",
    "token": "A-Za-z0-9_-",
    "dotted": "A-Za-z0-9_.-",
    "path": "A-Za-z0-9/",
}


class SecretShape(NamedTuple):
    """A prefix that an issuer gives to its keys, and what follows it.

    `least` and `most` bound the characters behind the prefix; where `most` is not 0 the key ends there, and no letter,
    digit, `_` or `-` may follow. No prefix begins with another one.
    """

    prefix: str
    alphabet: Alphabet
    least: int
    most: int = 0

    @property
    def characters(self) -> str:
        """Each character of the alphabet."""
        return "".join(filter(re.compile(f"[{ALPHABETS[self.alphabet]}]").match, map(chr, range(128))))


SECRETS: Final = (
    SecretShape("sk-", "token", 20),  # OpenAI, Anthropic, OpenRouter, DeepSeek
    *(SecretShape(f"{kind}_{mode}_", "alphanumeric", 16) for kind in ("sk", "rk", "pk") for mode in ("live", "test")),
    SecretShape("whsec_", "alphanumeric", 24),  # Stripe, webhooks
    *(SecretShape(f"A{kind}", "upper", 16, 16) for kind in ("KIA", "SIA", "BIA", "CCA")),  # AWS
    *(SecretShape(f"gh{kind}_", "alphanumeric", 36) for kind in "pousr"),  # GitHub
    SecretShape("github_pat_", "word", 22),
    *(SecretShape(f"gl{kind}-", "token", 20) for kind in ("pat", "rt", "dt", "cbt", "ptt", "ft", "soat")),  # GitLab
    *(SecretShape(f"xox{kind}-", "dashed", 10) for kind in "abeoprs"),  # Slack
    SecretShape("xapp-", "dashed", 20),
    SecretShape("hooks.slack.com/services/", "path", 30),
    SecretShape("AIza", "token", 35, 35),  # Google
    SecretShape("ya29.", "token", 20),
    SecretShape("GOCSPX-", "token", 28, 28),
    SecretShape("hf_", "alphanumeric", 30),  # Hugging Face
    SecretShape("npm_", "alphanumeric", 36, 36),
    SecretShape("pypi-", "token", 50),
    SecretShape("SG.", "dotted", 60),  # SendGrid
    SecretShape("EAA", "alphanumeric", 60),  # Meta
    SecretShape("SK", "hex", 32, 32),  # Twilio
    SecretShape("gsk_", "alphanumeric", 40),  # Groq
    SecretShape("xai-", "alphanumeric", 60),
    SecretShape("pplx-", "alphanumeric", 40),  # Perplexity
    SecretShape("r8_", "alphanumeric", 37),  # Replicate
    SecretShape("nvapi-", "token", 60),  # NVIDIA
    SecretShape("dop_v1_", "hex", 64, 64),  # DigitalOcean
    SecretShape("shpat_", "hex", 32),  # Shopify
    SecretShape("shpss_", "hex", 32),
    SecretShape("hvs.", "token", 24),  # HashiCorp Vault
    SecretShape("dapi", "hex", 32, 32),  # Databricks
    SecretShape("glsa_", "word", 32),  # Grafana
    SecretShape("lin_api_", "alphanumeric", 32),  # Linear
    SecretShape("ntn_", "alphanumeric", 40),  # Notion
    SecretShape("PMAK-", "dashed", 50),  # Postman
)
"""As the issuers document them."""

IBAN_LENGTHS: Final[dict[str, int]] = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FK FO FI GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
"""ISO 13616 registry: length of an IBAN by country."""

CARD_RANGES: Final[tuple[tuple[str, str, frozenset[int]], ...]] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),  # American Express
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "659", frozenset(range(16, 20))),  # Discover
    ("300", "305", frozenset(range(14, 20))),  # Diners
    ("36", "36", frozenset(range(14, 20))),  # Diners
    ("38", "39", frozenset(range(14, 20))),  # Diners
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
    ("2200", "2204", frozenset(range(16, 20))),  # Mir
    ("5018", "5018", frozenset(range(13, 20))),  # Maestro
    ("5020", "5020", frozenset(range(13, 20))),  # Maestro
    ("5038", "5038", frozenset(range(13, 20))),  # Maestro
    ("6304", "6304", frozenset(range(13, 20))),  # Maestro
    ("6759", "6763", frozenset(range(13, 20))),  # Maestro
)
"""Ranges of leading digits by scheme, with the lengths that it issues. ISO/IEC 7812 and the schemes' public tables."""

FILE_ENDINGS: Final = frozenset(("bmp", "gif", "jpeg", "jpg", "pdf", "png", "svg", "tiff", "webp"))
"""What follows `@2x.` in the name of a picture, and is no top-level domain."""

NO_LETTERS: Final[tuple[tuple[int, int], ...]] = (
    (0x80, 0xA9), (0xAB, 0xB4), (0xB6, 0xB9), (0xBB, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7),
    (0x37E, 0x37E), (0x387, 0x387), (0x55A, 0x55F), (0x589, 0x58F), (0x5BE, 0x5BE), (0x5C0, 0x5C0), (0x5C3, 0x5C3),
    (0x5C6, 0x5C6), (0x5F3, 0x5F4), (0x600, 0x60F), (0x61B, 0x61F), (0x66A, 0x66D), (0x6D4, 0x6D4), (0x6DD, 0x6DD),
    (0x700, 0x70F), (0x964, 0x965), (0x970, 0x970), (0xE3F, 0xE3F), (0xE4F, 0xE4F), (0xE5A, 0xE5B), (0xF01, 0xF17),
    (0x104A, 0x104F), (0x10FB, 0x10FB), (0x1361, 0x1368), (0x1680, 0x1680), (0x17D4, 0x17DB), (0x1800, 0x180E),
    (0x2000, 0x2BFF), (0x2E00, 0x2E7F), (0x3000, 0x3004), (0x3008, 0x3020), (0x3030, 0x3030), (0x303D, 0x303F),
    (0x30A0, 0x30A0), (0x30FB, 0x30FB), (0x3200, 0x33FF), (0xD800, 0xF8FF), (0xFD3E, 0xFD3F), (0xFE00, 0xFE1F),
    (0xFE30, 0xFE6F), (0xFEFF, 0xFEFF), (0xFF00, 0xFF0F), (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF65),
    (0xFFE0, 0xFFFF), (0x1F000, 0x1FAFF), (0xE0000, 0x10FFFF),
)  # fmt: skip
"""Beyond ASCII: spaces, punctuation, symbols, emoji, private use. Every other character may stand in an address, as
RFC 6531 has it, combining marks included. Fixed here, for each Unicode version knows other letters."""

UNSPACED: Final[tuple[tuple[int, int], ...]] = (
    (0xE00, 0xEFF), (0x1000, 0x11FF), (0x1780, 0x17FF), (0x2E80, 0xA4CF), (0xA960, 0xA97F), (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF), (0xFF66, 0xFFDC), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Burmese, Khmer, Chinese, Japanese and Korean: no space tells where a word ends, or a particle begins."""


class Tables(NamedTuple):
    """All of it, as the Rust side takes it. It keeps a copy."""

    iban_lengths: dict[str, int] = IBAN_LENGTHS
    card_ranges: tuple[tuple[str, str, frozenset[int]], ...] = CARD_RANGES
    calling_codes: dict[str, frozenset[int]] = CALLING_CODES
    secrets: tuple[SecretShape, ...] = SECRETS
    no_letters: tuple[tuple[int, int], ...] = NO_LETTERS
    file_endings: frozenset[str] = FILE_ENDINGS
