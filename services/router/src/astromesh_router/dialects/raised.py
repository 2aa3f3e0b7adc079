"""What users' provider classes raise, as failures of candidates: named, without stack text, without the key."""

from __future__ import annotations

import math
from collections.abc import Mapping

from astromesh_core.errors import ERRORS, AstromeshError, Unavailable
from astromesh_core.resources.secrets import resolve
from astromesh_core.user_code.foreign import Raised
from astromesh_router.candidates import Candidate
from astromesh_router.failures import SHOWN, CandidateFailed, failed


def failure_of(candidate: Candidate, raised: Raised, environ: Mapping[str, str]) -> CandidateFailed:
    """The failure: an error of ours as it is, any other one as Unavailable. Only the error itself quotes the class."""
    error = raised.error
    if isinstance(error, CandidateFailed):
        return error
    said = _without_key(candidate, str(error), environ)
    if not isinstance(error, AstromeshError):
        reason, advice = f"raised {type(error).__name__}", "see its code, or name a fallback model"
        return failed(candidate, Unavailable, reason, said=said, advice=advice)
    kind = _class_of_ours(error)
    told = kind(f"{candidate.label}: {' '.join(said.split())[:SHOWN]}", retry_after=_seconds(error))
    return CandidateFailed(told, f"failed: {kind.code}")


def _class_of_ours(error: AstromeshError) -> type[AstromeshError]:
    """The class in our tree: a user's own one below it may be made of something else than a message."""
    return next(kind for kind in type(error).__mro__ if kind in ERRORS.values())


def _seconds(error: AstromeshError) -> float | None:
    wait: object = getattr(error, "retry_after", None)
    return wait if isinstance(wait, int | float) and 0 <= wait < math.inf else None


def _without_key(candidate: Candidate, text: str, environ: Mapping[str, str]) -> str:
    """Takes the key out: HTTP libraries quote the address that they asked, some keys stand in there."""
    try:
        key = resolve(candidate.key, environ) if candidate.key else ""
    except AstromeshError:
        return text  # nobody was given one
    return text.replace(key, "[key]") if key else text
