"""Asks providers whether they answer. Nothing is remembered: a breaker or a controller decides what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from astromesh.v1.router_pb2 import ProviderHealth
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.failures import CandidateFailed

CHECK_SECONDS = 5.0


async def check_all(candidates: Sequence[Candidate], calls: Calls) -> list[ProviderHealth]:
    """Asks all at once, each within 5 s; in the order of the candidates."""
    return list(await asyncio.gather(*(check(candidate, calls) for candidate in candidates)))


async def check(candidate: Candidate, calls: Calls) -> ProviderHealth:
    """Whether a provider answers, and a reason where it does not, or does not offer the candidate's model."""
    health = ProviderHealth(provider=candidate.provider, endpoint=candidate.endpoint)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            health.models.extend(await calls.dialect(candidate).models(candidate))
    except CandidateFailed as failure:
        health.reason = failure.error.message
    except TimeoutError:
        health.reason = f"{candidate.label}: no answer within {CHECK_SECONDS:g} s"
    else:
        health.reachable = True
        if not offers(health.models, candidate.model):
            health.reason = f"the model {candidate.model} is not offered{install_hint(candidate)}"
    return health


def offers(models: Sequence[str], wanted: str) -> bool:
    """Whether a model is among those offered; servers that list none are trusted, and Ollama adds `:latest`."""
    return not models or wanted in models or f"{wanted}:latest" in models


def install_hint(candidate: Candidate) -> str:
    return f"; run `ollama pull {candidate.model}`" if candidate.provider == "ollama" else ""
