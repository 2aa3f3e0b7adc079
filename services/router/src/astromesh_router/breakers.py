"""Which endpoints are worth asking: a circuit for each, shared by all replicas, and pauses that vendors asked for.

The rules of a circuit stand in `breaker`, what it is of in `circuits`, how replicas share it in `sharing`. A 429 opens
nothing: it pauses the key at its endpoint for as long as its Retry-After says, ten minutes at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from astromesh_core.breaker import Circuit, Leave, Outcome, State, as_of, knock, report
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import RateLimited
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.candidates import Candidate
from astromesh_router.circuit_notices import CircuitNotices
from astromesh_router.circuits import (
    CircuitId,
    Clock,
    Endpoint,
    circuit_of,
    endpoint_of,
    in_words,
    read_endpoint,
    read_identity,
)
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Refusal
from astromesh_router.sharing import Kept, Sharing, Store

LONGEST_PAUSE_SECONDS = 600.0
"""Nobody is silenced for longer by one header: after it, the next call finds out anew."""

PROBE_SECONDS = 1.0
"""When to come again while somebody else probes."""

NEWS_SECONDS = 1.0
"""A pause that ends so little later than a known one is not told: calls under way together bring as many."""

MOST_CIRCUITS = 4096
"""Kept at once. Beyond it closed ones go, which know little."""

_FREELY = Leave(0)


class SharedBreakers:
    """Keeps the port `Breakers`. Without a store it is this replica's alone."""

    def __init__(
        self, metrics: Metrics, store: Store | None = None, *, router: str = "", clock: Clock | None = None
    ) -> None:
        """`router` names this replica among those that share the store."""
        self._clock = clock or Clock()
        self._notices = CircuitNotices(metrics, self._clock)
        self._sharing = Sharing(store, router, self._clock, self._moved) if store else None
        self._kept: dict[CircuitId, Kept] = {}
        self._pauses: dict[Endpoint, float] = {}
        self.on_change: Callable[[Endpoint], None] = _nobody
        """Called after a circuit of the endpoint changed its state, here or elsewhere."""

    async def admit(self, candidate: Candidate) -> _Pass:
        """See Breakers.admit."""
        if self._pauses:
            self._refuse_paused(endpoint_of(candidate))
        while kept := self._of(candidate):
            circuit, leave = knock(kept.circuit, self._clock.seconds(), kept.identity.terms)
            self._moved(kept, circuit)
            if leave is None:
                raise self._refusal(circuit)
            if not leave.probe or await self._probes(candidate, kept, leave):
                return _Pass(self, candidate, leave)
        return _Pass(self, candidate, _FREELY)

    def ended(self, candidate: Candidate, leave: Leave, outcome: Outcome, reason: str = "") -> None:
        """A call that was admitted has ended so."""
        if not self._kept and outcome is not Outcome.FAILED:
            return
        identity = circuit_of(candidate)
        kept = self._kept.get(identity)
        if kept is None:
            if outcome is not Outcome.FAILED:
                return
            kept = self._keep(identity)
        before = kept.circuit
        after = report(before, leave, outcome, self._clock.seconds(), identity.terms, reason)
        self._moved(kept, after)
        if after.state is State.OPEN and outcome is Outcome.FAILED and after is not before:
            self._notices.opened(identity.endpoint)
        if after.period != before.period and self._sharing is not None:
            self._sharing.tell(kept)
        if not (after.failures or after.period or kept.revision):
            del self._kept[identity]

    def pause(self, endpoint: Endpoint, seconds: float) -> None:
        """The endpoint's key has to wait so long."""
        now = self._clock.seconds()
        known, until = self._pauses.get(endpoint, now), now + min(seconds, LONGEST_PAUSE_SECONDS)
        if known > now and until - known < NEWS_SECONDS:
            return
        self._wait(endpoint, until)
        self._notices.paused(endpoint, until)
        if self._sharing is not None:
            self._sharing.pause(endpoint, until)

    def hear(self, stored: StoredEndpoint) -> None:
        """Takes in what a replica wrote."""
        match stored.record.WhichOneof("kind"):
            case "circuit" if self._sharing is not None:
                identity = read_identity(stored.record.circuit)
                self._sharing.hear(stored, self._kept.get(identity) or self._keep(identity))
            case "pause":
                pause = stored.record.pause
                self._wait(
                    read_endpoint(pause.endpoint), self._clock.moment(pause.until_unix_nano, LONGEST_PAUSE_SECONDS)
                )
            case _:
                pass

    def standing(self, endpoint: Endpoint) -> Iterator[Circuit]:
        """Every circuit that was ever open at the endpoint and is remembered, as it stands now."""
        for identity, kept in list(self._kept.items()):
            if identity.endpoint == endpoint:
                self._moved(kept, as_of(kept.circuit, self._clock.seconds()))
                yield kept.circuit

    def refusing(self, candidate: Candidate) -> str:
        """Why calls to the candidate are refused for now; empty where its circuit is not open."""
        kept = self._of(candidate)
        if kept is None or kept.circuit.state is not State.OPEN or self._clock.seconds() >= kept.circuit.until:
            return ""
        return in_words(kept.circuit, self._clock)

    async def close(self) -> None:
        """Ends what is being written."""
        if self._sharing is not None:
            await self._sharing.close()

    def _of(self, candidate: Candidate) -> Kept | None:
        # Of a mesh whose endpoints are well nothing is kept, and no call pays for more than this question.
        return self._kept.get(circuit_of(candidate)) if self._kept else None

    async def _probes(self, candidate: Candidate, kept: Kept, leave: Leave) -> bool:
        if self._sharing is None:
            return True
        try:
            return await self._sharing.claim(kept)
        except asyncio.CancelledError:
            self.ended(candidate, leave, Outcome.ABANDONED)
            raise

    def _wait(self, endpoint: Endpoint, until: float) -> None:
        if len(self._pauses) >= MOST_CIRCUITS:
            now = self._clock.seconds()
            self._pauses = {each: end for each, end in self._pauses.items() if end > now}
        self._pauses[endpoint] = max(until, self._pauses.get(endpoint, until))

    def _refuse_paused(self, endpoint: Endpoint) -> None:
        until = self._pauses.get(endpoint, 0.0)
        wait = until - self._clock.seconds()
        if wait > 0:
            raise Refusal(f"rate-limited until {self._clock.time_of_day(until)}", wait, RateLimited)
        self._pauses.pop(endpoint, None)

    def _refusal(self, circuit: Circuit) -> Refusal:
        wait = circuit.until - self._clock.seconds()
        reason = in_words(circuit, self._clock)
        if circuit.state is State.OPEN:
            return Refusal(reason, wait)
        return Refusal(reason, min(wait, PROBE_SECONDS), probed=True)

    def _moved(self, kept: Kept, circuit: Circuit) -> None:
        before, kept.circuit = kept.circuit, circuit
        if circuit.state is not before.state:
            self._notices.moved(kept.identity, before, circuit)
            self.on_change(kept.identity.endpoint)

    def _keep(self, identity: CircuitId) -> Kept:
        if len(self._kept) >= MOST_CIRCUITS:
            for kept in list(self._kept.values()):
                self._moved(kept, as_of(kept.circuit, self._clock.seconds()))
                if kept.circuit.state is State.CLOSED:
                    del self._kept[kept.identity]
        kept = self._kept[identity] = Kept(identity)
        return kept


@dataclass(frozen=True, slots=True)
class _Pass:
    """See Pass."""

    breakers: SharedBreakers
    candidate: Candidate
    leave: Leave

    def succeeded(self) -> None:
        """See Pass.succeeded."""
        self.breakers.ended(self.candidate, self.leave, Outcome.SUCCEEDED)

    def failed(self, failure: CandidateFailed) -> None:
        """See Pass.failed."""
        error = failure.error
        if isinstance(error, RateLimited) and error.retry_after:
            self.breakers.pause(endpoint_of(self.candidate), error.retry_after)
        outcome = Outcome.FAILED if failure.blames_endpoint else Outcome.ABANDONED
        self.breakers.ended(self.candidate, self.leave, outcome, failure.reason)

    def abandoned(self) -> None:
        """See Pass.abandoned."""
        self.breakers.ended(self.candidate, self.leave, Outcome.ABANDONED)


def _nobody(endpoint: Endpoint) -> None:
    pass
