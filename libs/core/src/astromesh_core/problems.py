"""Errors as they cross HTTP: RFC 9457 problem documents and the status of each class. No web framework is named
here."""

from __future__ import annotations

import math
from typing import NotRequired, TypedDict

from astromesh_core import errors
from astromesh_core.errors import AstromeshError

MEDIA_TYPE = "application/problem+json"
_TYPES = "https://astromesh.io/problems/"

_HTTP: dict[type[AstromeshError], tuple[int, str]] = {
    errors.AstromeshError: (500, "Error"),
    errors.PermanentError: (422, "The request cannot be served"),
    errors.InvalidInput: (400, "Invalid input"),
    errors.NotFound: (404, "Not found"),
    errors.Conflict: (409, "Conflict"),
    errors.Denied: (403, "Denied"),
    errors.PolicyRefused: (422, "Refused by policy"),
    errors.BudgetExceeded: (402, "Budget exceeded"),
    errors.LimitExceeded: (422, "Limit exceeded"),
    errors.NotSupported: (501, "Not supported"),
    errors.TemporaryError: (503, "Temporarily unavailable"),
    errors.Unavailable: (503, "Temporarily unavailable"),
    errors.RateLimited: (429, "Too many requests"),
    errors.TimedOut: (504, "Timed out"),
    errors.Cancelled: (499, "Cancelled"),
    errors.Bug: (500, "Internal error"),
}


class Problem(TypedDict):
    """The members of a problem document (RFC 9457), and ours: the run it happened in, and when to try again, in
    seconds."""

    type: str
    title: str
    status: int
    detail: str
    instance: NotRequired[str]
    run_id: NotRequired[str]
    retry_after: NotRequired[float]


def http_status(error: AstromeshError) -> int:
    """The HTTP status that the error's class stands for."""
    return _entry(error)[1][0]


def problem(error: AstromeshError, instance: str = "", run_id: str = "") -> Problem:
    """The problem document of an error. `instance` is the path that was asked for."""
    kind, (status, title) = _entry(error)
    document = Problem(type=_TYPES + kind.code, title=title, status=status, detail=error.message)
    if instance:
        document["instance"] = instance
    if run_id:
        document["run_id"] = run_id
    if error.retry_after is not None:
        document["retry_after"] = error.retry_after
    return document


def retry_after_header(error: AstromeshError) -> str | None:
    """The value of `Retry-After` in whole seconds, rounded up (RFC 9110), where the error names a delay."""
    return None if error.retry_after is None else str(max(1, math.ceil(error.retry_after)))


def _entry(error: AstromeshError) -> tuple[type[AstromeshError], tuple[int, str]]:
    return next((kind, _HTTP[kind]) for kind in type(error).__mro__ if kind in _HTTP)
