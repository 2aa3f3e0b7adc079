"""How a candidate fails: the error a caller sees and the short reason a route records. What follows: `calls`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

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
from astromesh_router.candidates import Candidate

SHOWN = 300
"""Characters of a vendor's own message that are passed on."""

CLIENT_ERROR, SERVER_ERROR, BEYOND_STATUSES = 400, 500, 600
STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""What a vendor's word for an error would be as a status
(https://docs.claude.com/en/api/errors, https://platform.openai.com/docs/guides/error-codes)."""

GAVE_UP_WAITING = frozenset({408, 504})
"""Statuses of a server that took too long, which may be quicker the next time."""


PASSES_IN: dict[type[AstromeshError], float] = {Unavailable: 0.5, RateLimited: 0.5}
"""Seconds after which it is worth asking again, at first; failures of other kinds do not pass by themselves."""

NEVER = math.inf

ADVICE: dict[type[AstromeshError], str] = {
    Unavailable: "see what its server says, or name a fallback model",
    TimedOut: "see what its server is busy with, or give it more time",
    RateLimited: "ask it less often, or name a fallback model",
    LimitExceeded: "bound its replies with the parameter max_tokens",
    InvalidInput: "mend what it names, in the agent's parameters or in what it is asked",
}
"""What to do, where the failure itself does not say more."""


class CandidateFailed(Exception):
    """One candidate gave no complete reply. Never leaves the router: `calls` turns the last ones into an error.

    `error` is for the caller and may quote the vendor; `reason` is for the route and quotes nobody. `blames_endpoint`:
    its connection, its time, its 5xx or its broken stream were at fault, never a 4xx; a RateLimited error speaks of the
    key and carries `retry_after`. `passes_in`: seconds after which the same may go well, infinite where it will not.
    `asked` is False where nothing was sent: no money, or an open circuit. `probed`: see `ports.Refusal`.
    """

    def __init__(
        self,
        error: AstromeshError,
        reason: str,
        *,
        blames_endpoint: bool | None = None,
        passes_in: float | None = None,
        asked: bool = True,
        probed: bool = False,
    ) -> None:
        """`blames_endpoint` and `passes_in` follow from the error unless they are given."""
        super().__init__(error.message)
        self.error = error
        self.reason = reason
        self.asked = asked
        self.probed = probed
        by_error = isinstance(error, Unavailable | TimedOut)
        self.blames_endpoint = asked and (by_error if blames_endpoint is None else blames_endpoint)
        self.passes_in = PASSES_IN.get(type(error), NEVER) if passes_in is None else passes_in


def failed(
    candidate: Candidate,
    kind: type[AstromeshError],
    reason: str,
    *,
    said: str = "",
    advice: str = "",
    passes_in: float | None = None,
) -> CandidateFailed:
    """A failure that names the provider, its endpoint, what went wrong, what the vendor said, and what to do."""
    return CandidateFailed(kind(_message(candidate, kind, reason, said, advice)), reason, passes_in=passes_in)


def refused(candidate: Candidate, status: int, vendor_text: str, vendor_code: str, retry_after: str) -> CandidateFailed:
    """A failure by HTTP status, with the vendor's words where they cannot hold a key."""
    kind, advice = _by_status(candidate, status, vendor_code)
    reason = f"answered {status}"
    wait = seconds(retry_after) if issubclass(kind, TemporaryError) else None
    said = "" if kind is Denied else vendor_text
    error = kind(_message(candidate, kind, reason, said, advice), retry_after=wait)
    blamed, passes = status >= SERVER_ERROR, PASSES_IN[Unavailable] if status in GAVE_UP_WAITING else None
    return CandidateFailed(error, reason, blames_endpoint=blamed, passes_in=passes)


def reported(candidate: Candidate, vendor_text: str, vendor_code: str) -> CandidateFailed:
    """The failure of a vendor that reports an error where its reply should be, or in the middle of it."""
    status = int(vendor_code) if vendor_code.isdecimal() else STATUS_OF_CODE.get(vendor_code, 0)
    if CLIENT_ERROR <= status < BEYOND_STATUSES:
        return refused(candidate, status, vendor_text, vendor_code, "")
    return failed(candidate, Unavailable, "reported an error in mid-reply", said=vendor_text)


def _message(candidate: Candidate, kind: type[AstromeshError], reason: str, said: str, advice: str) -> str:
    quoted = " ".join(said.split())[:SHOWN]
    what_to_do = advice or ADVICE.get(kind, "")
    return f"{candidate.label}: {reason}{f' ({quoted})' if quoted else ''}{f'; {what_to_do}' if what_to_do else ''}"


def _by_status(candidate: Candidate, status: int, vendor_code: str) -> tuple[type[AstromeshError], str]:
    if status in {401, 403}:
        return Denied, f"check {candidate.key_name}" if candidate.key_name else "give it a key with api_key_env"
    if status == 402:
        return BudgetExceeded, "pay into the vendor's account: its credit is spent"
    if status == 404:
        return NotFound, f"check the endpoint, and that it serves the model {candidate.model}"
    if status == 429:
        quota = vendor_code == "insufficient_quota"
        return (BudgetExceeded, "pay into the vendor's account: its quota is spent") if quota else (RateLimited, "")
    if status in GAVE_UP_WAITING:
        return TimedOut, ""
    if 300 <= status < 400:
        return (
            InvalidInput,
            "it points to another address, and redirects are not followed: set endpoint to the final one",
        )
    return (Unavailable, "") if status >= 500 else (InvalidInput, "")


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


def none_answered(failures: Sequence[CandidateFailed]) -> AstromeshError:
    """The error of a call that no candidate answered: of the kind that leaves most hope, naming each failure.

    Temporary before permanent, the shortest wait first; among permanent ones the first candidate's. Where there is no
    money for any, the last one's is told alone: the budgets are the same.
    """
    errors = [failure.error for failure in failures]
    unpaid = all(isinstance(failure.error, BudgetExceeded) and not failure.asked for failure in failures)
    if unpaid or len(failures) == 1:
        return errors[-1]
    temporary = [error for error in errors if isinstance(error, TemporaryError)]
    most_hopeful = min(temporary, key=lambda error: error.retry_after or 0.0) if temporary else errors[0]
    told = "; ".join(f"({number}) {error.message}" for number, error in enumerate(errors, 1))
    return type(most_hopeful)(f"none of {len(errors)} models answered: {told}", retry_after=most_hopeful.retry_after)
