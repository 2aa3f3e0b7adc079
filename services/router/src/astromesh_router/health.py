"""Whether models answer: asks them, or says what their Provider's last health check found and their circuit allows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from astromesh.v1.router_pb2 import ProviderHealth
from astromesh_router.candidates import Candidate
from astromesh_router.circuits import Endpoint, endpoint_of
from astromesh_router.dialects.port import Dialect
from astromesh_router.failures import CandidateFailed
from astromesh_router.provider_conditions import not_offered

CHECK_SECONDS = 5.0
"""How long one may take to answer of which no Provider says it."""

STANDS_SECONDS = 5.0
"""How long an answer stands: of a hundred agents with one model, one asks."""

MOST_ANSWERS = 1024

Dialects = Callable[[Candidate], Dialect]
"""How a candidate is talked to. Raises CandidateFailed."""


Known = Callable[[Candidate], ProviderHealth | None]
"""What the last health check of a candidate's Provider found; None where there is none, or it cannot tell."""

Refusing = Callable[[Candidate], str]
"""Why calls to a candidate are refused now; empty where they are not."""


@dataclass(frozen=True)
class Answer:
    """What a provider said: `trouble` why it cannot be used, else the models that it lists, perhaps none."""

    trouble: str = ""
    models: tuple[str, ...] = ()

    def lacks(self, model: str) -> bool:
        """Whether a model is not among those listed; who lists none is trusted, and Ollama adds `:latest`."""
        return bool(self.models) and model not in self.models and f"{model}:latest" not in self.models


async def ask(candidate: Candidate, dialects: Dialects, seconds: float) -> Answer:
    """Asks a provider, once. Never raises for one that fails."""
    try:
        async with asyncio.timeout(seconds):
            return Answer(models=tuple(await dialects(candidate).models(candidate)))
    except CandidateFailed as failure:
        return Answer(failure.error.message)
    except TimeoutError:
        return Answer(f"{candidate.label}: no answer within {seconds:g} s")


@dataclass
class _Asked:
    """An endpoint's last answer, until when it stands, and the turn of who asks next; others wait for what comes."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    until: float = 0.0
    answer: Answer = Answer()


class Health:
    """Tells of candidates. `clock` counts seconds."""

    def __init__(
        self,
        dialects: Dialects,
        known: Known = lambda _: None,
        refusing: Refusing = lambda _: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dialects = dialects
        self._known = known
        self._refusing = refusing
        self._clock = clock
        self._asked: dict[Endpoint, _Asked] = {}

    async def of(self, candidates: Sequence[Candidate]) -> list[ProviderHealth]:
        """All at once, each within 5 s; in the order of the candidates."""
        return list(await asyncio.gather(*(self._health(candidate) for candidate in candidates)))

    async def _health(self, candidate: Candidate) -> ProviderHealth:
        refusing = self._refusing(candidate)
        if refusing:
            reason = f"{candidate.label}: {refusing}"
            return ProviderHealth(provider=candidate.provider, endpoint=candidate.endpoint, reason=reason)
        return self._known(candidate) or health_of(candidate, await self._answer(candidate))

    async def _answer(self, candidate: Candidate) -> Answer:
        endpoint = endpoint_of(candidate)
        if endpoint not in self._asked and len(self._asked) >= MOST_ANSWERS:
            self._asked.clear()
        asked = self._asked.setdefault(endpoint, _Asked())
        async with asked.lock:
            if self._clock() >= asked.until:
                asked.answer = await ask(candidate, self._dialects, CHECK_SECONDS)
                asked.until = self._clock() + STANDS_SECONDS
            return asked.answer


def health_of(candidate: Candidate, answer: Answer) -> ProviderHealth:
    """What an answer means for one model; `reason` says why it cannot be used."""
    lacking = not answer.trouble and answer.lacks(candidate.model)
    return ProviderHealth(
        provider=candidate.provider,
        endpoint=candidate.endpoint,
        reachable=not answer.trouble,
        reason=not_offered(candidate, [candidate.model]) if lacking else answer.trouble,
        models=answer.models,
    )
