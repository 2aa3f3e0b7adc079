"""The errors that cross our boundaries, branched by what the caller may do about them.

AstromeshError
├── PermanentError          asking again the same way cannot help
│   ├── InvalidInput        what was sent is wrong; the message says where and what to do
│   ├── NotFound            the named thing does not exist
│   ├── Conflict            it exists already, or changed meanwhile
│   ├── Denied              the caller may not do this
│   ├── PolicyRefused       a guardrail or a permission rule said no
│   ├── BudgetExceeded      the money or the tokens are spent
│   ├── LimitExceeded       a declared bound was reached: iterations, events or bytes of a run
│   └── NotSupported        known, but not built or not installed here
├── TemporaryError          the same request may succeed after `retry_after` seconds
│   ├── Unavailable         a dependency is away or overloaded
│   ├── RateLimited         too many at once; admission or a vendor's limit
│   └── TimedOut            no answer within the deadline
├── Cancelled               the caller left or asked for it
└── Bug                     ours: an unexpected exception, reported and never retried
"""

from __future__ import annotations

from typing import ClassVar


class AstromeshError(Exception):
    """Anything this project raises on purpose.

    `code` is the stable, public name: it travels in gRPC error details, problem documents and events (`error_class`).
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class PermanentError(AstromeshError):
    """Asking again the same way cannot help."""

    code = "permanent"


class InvalidInput(PermanentError):
    """What was sent is wrong; the message says what, where, and what to do."""

    code = "invalid-input"


class NotFound(PermanentError):
    """The named thing does not exist, or not for this caller."""

    code = "not-found"


class Conflict(PermanentError):
    """It exists already with other content, or changed since it was read."""

    code = "conflict"


class Denied(PermanentError):
    """The caller is unknown or may not do this."""

    code = "denied"


class PolicyRefused(PermanentError):
    """A guardrail or a permission rule said no."""

    code = "policy-refused"


class BudgetExceeded(PermanentError):
    """The money or the tokens set aside for this are spent."""

    code = "budget-exceeded"


class LimitExceeded(PermanentError):
    """A declared bound was reached: iterations, events or bytes of a run. The message names the bound."""

    code = "limit-exceeded"


class NotSupported(PermanentError):
    """Known, but not built or not installed here; the message names the field or the install command."""

    code = "not-supported"


class TemporaryError(AstromeshError):
    """The same request may succeed after `retry_after` seconds (None: the caller chooses)."""

    code = "temporary"


class Unavailable(TemporaryError):
    """A dependency is away, overloaded, or broke the connection."""

    code = "unavailable"


class RateLimited(TemporaryError):
    """Too many at once: our admission, or a vendor's limit."""

    code = "rate-limited"


class TimedOut(TemporaryError):
    """No answer within the deadline. Says nothing about whether the work was done."""

    code = "timed-out"


class Cancelled(AstromeshError):
    """The caller left, or asked for it."""

    code = "cancelled"


class Bug(AstromeshError):
    """An unexpected exception of ours. Never retried; the cause is logged where it happened."""

    code = "bug"


ERRORS: dict[str, type[AstromeshError]] = {
    error.code: error
    for error in (
        AstromeshError,
        PermanentError,
        InvalidInput,
        NotFound,
        Conflict,
        Denied,
        PolicyRefused,
        BudgetExceeded,
        LimitExceeded,
        NotSupported,
        TemporaryError,
        Unavailable,
        RateLimited,
        TimedOut,
        Cancelled,
        Bug,
    )
}
"""Every class by its public code."""
