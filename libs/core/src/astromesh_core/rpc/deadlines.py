"""Deadlines: every call has one, and a call made while serving another never outlives it."""

from __future__ import annotations

import math
from contextvars import ContextVar, Token
from time import monotonic

DEFAULT_TIMEOUT = 30.0
"""Seconds that a call may take where nobody says otherwise."""

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)


def timeout_for(wanted: float | None) -> float:
    """Seconds that a call started now may take: what is wanted or the default, but no more than the running call has
    left."""
    timeout = DEFAULT_TIMEOUT if wanted is None else wanted
    deadline = _deadline.get()
    return timeout if deadline == math.inf else min(timeout, deadline - monotonic())


def remaining() -> float:
    """Seconds that the call being served has left; infinite outside any call, negative when it is late."""
    return _deadline.get() - monotonic()


def enter_deadline(timeout: float | None) -> Token[float]:
    """Bounds the running task, and those it starts from now on."""
    return _deadline.set(math.inf if timeout is None else monotonic() + timeout)
