"""How long a model may take: to accept a connection, to begin, between two deltas, and in all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from astromesh_core.errors import TimedOut
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.port import Part
from astromesh_router.failures import failed


@dataclass(frozen=True)
class Deadlines:
    """Seconds. The whole is each candidate's own `timeout_seconds`; none of the others reaches beyond it."""

    connect: float = 5.0
    first_token: float = 60.0
    """A local model may have to be loaded first; a provider that hangs is left for the next one after this."""
    between_tokens: float = 30.0


async def in_time(
    parts: AsyncGenerator[Part, None], candidate: Candidate, deadlines: Deadlines
) -> AsyncGenerator[Part, None]:
    """Passes the parts on and closes their source when one is late. Raises CandidateFailed with TimedOut.

    Time that the consumer takes between two parts counts for the whole alone.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + candidate.timeout_seconds
    patience, late = deadlines.first_token, "no first token"
    async with aclosing(parts):
        while True:
            until = min(clock() + patience, end)
            try:
                async with asyncio.timeout_at(until):
                    part = await anext(parts, None)
            except TimeoutError as error:
                whole = until == end
                waited = candidate.timeout_seconds if whole else patience
                what = "no complete reply" if whole else late
                raise failed(candidate, TimedOut, f"{what} within {waited:g} s") from error
            if part is None:
                return
            yield part
            patience, late = deadlines.between_tokens, "nothing more"
