"""What a model server's refusal means to whoever asked. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, cast

import orjson

from astromesh_core.errors import (
    AstromeshError,
    BudgetExceeded,
    Denied,
    InvalidInput,
    LimitExceeded,
    NotFound,
    RateLimited,
    TemporaryError,
    TimedOut,
    Unavailable,
)

if TYPE_CHECKING:
    from astromesh_vectors.remote.server import Address

SHOWN: Final = 300
"""Characters of a server's own words that are passed on."""

_CLIENT_ERROR: Final = 400
_KINDS: dict[int, type[AstromeshError]] = {
    401: Denied,
    402: BudgetExceeded,
    403: Denied,
    404: NotFound,
    408: TimedOut,
    413: LimitExceeded,
    424: Unavailable,
    429: RateLimited,
    504: TimedOut,
}
"""424 is what Text Embeddings Inference answers where its model fails."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that is no answer."""

    status: int
    body: bytes
    retry_after: str = ""


def refusal(address: Address, said: Said) -> AstromeshError:
    """The error that a status other than 200 means, with the server's words where they cannot hold a key."""
    kind = _kind(said.status)
    words, loading = _words(said.body)
    if kind is Denied:
        advice, words = f"check {address.key_name}", ""
    elif kind is NotFound:
        advice = "check the endpoint, and that it has the model"
    elif said.status < _CLIENT_ERROR:
        advice, words = "redirects are not followed: set endpoint to the final address", ""
    else:
        advice = ""
    quoted = " ".join(words.replace(address.key, "[key]").split() if address.key else words.split())[:SHOWN]
    parts = [f"{address.label}: answered {said.status}", f" ({quoted})" if quoted else "", f"; {advice}" * bool(advice)]
    wait = seconds(said.retry_after) if said.retry_after else loading
    return kind("".join(parts), retry_after=wait if issubclass(kind, TemporaryError) else None)


def _kind(status: int) -> type[AstromeshError]:
    if status in _KINDS:
        return _KINDS[status]
    return Unavailable if status >= 500 else InvalidInput


def _words(body: bytes) -> tuple[str, float | None]:
    """What a server says is wrong, and for how many seconds it will be: `{"error": …}` of Ollama, Text Embeddings
    Inference and Hugging Face, `{"message": …}` of Cohere, or the text itself."""
    try:
        decoded: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[: 4 * SHOWN].decode(errors="replace"), None
    if not isinstance(decoded, dict):
        return "", None
    told = cast("dict[str, object]", decoded)
    error = told.get("error") or told.get("message") or ""
    words = "; ".join(map(str, cast("list[object]", error))) if isinstance(error, list) else str(error)
    estimated = told.get("estimated_time")
    return words, float(estimated) if isinstance(estimated, int | float) and estimated >= 0 else None


def seconds(retry_after: str, now: datetime | None = None) -> float | None:
    """Reads a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3). None where it says nothing usable."""
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(retry_after) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(wait, 0.0) if math.isfinite(wait) else None
