"""Whether a candidate that failed is asked once more, and when. Pure but for its jitter.

Asked again: what may pass, while the candidate has retries and time left. A vendor's Retry-After is kept to; where it
is long, the next candidate answers sooner.
"""

from __future__ import annotations

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from astromesh_router.failures import NEVER, CandidateFailed

LONGEST_PAUSE = 10.0
"""Seconds that a caller is kept waiting for one model where no other is left."""

LONGEST_PAUSE_BEFORE_OTHERS = 0.5
"""The same where another one could be asked at once."""

HIGHEST_BACKOFF = 8.0
SLACK = 0.05
"""On top of what a vendor asks for: clocks differ."""


def pause_before(failure: CandidateFailed, retry: int, seconds_left: float, *, others_left: bool) -> float | None:
    """Seconds to wait before the `retry`th further attempt (from 1); None where there shall be none."""
    if failure.passes_in == NEVER:
        return None
    longest = LONGEST_PAUSE_BEFORE_OTHERS if others_left else LONGEST_PAUSE
    told = failure.error.retry_after
    pause = min(backoff(failure.passes_in, retry), longest) if told is None else told + SLACK
    return pause if pause <= longest + SLACK and pause < seconds_left else None


def backoff(first: float, retry: int) -> float:
    """A random part of `first` seconds, doubled with each retry ("full jitter": Brooker, AWS Architecture Blog, 2015).

    Of tenacity only the wait is used, not its loop: that holds back the exception that closes a generator, and costs
    each call that needs no retry 35 µs.
    """
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = retry
    return wait_random_exponential(multiplier=first, max=HIGHEST_BACKOFF)(state)
