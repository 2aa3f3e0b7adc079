"""Observes the Providers of the mesh: checks each at its declared interval, tells what was found and how its circuit
stands. Which replica checks is settled in `check_turns`.

Every replica tells what it knows when that changes, so that the last word is the newest, whoever has it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Protocol

from pydantic import ValidationError

from astromesh.v1.control_pb2 import Condition, ResourceRecord
from astromesh.v1.endpoint_pb2 import CheckRecord
from astromesh.v1.router_pb2 import ProviderHealth
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.breaker import Circuit
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.bus.resource_store import ResourceChange
from astromesh_core.errors import TemporaryError
from astromesh_core.resources.provider import HealthCheck, ProviderSpec
from astromesh_core.telemetry.logs import logger
from astromesh_router.candidates import Candidate, NamedProvider, pool_of_provider
from astromesh_router.check_turns import CheckTurns, Observed, check_key
from astromesh_router.circuits import Clock, Endpoint, endpoint_of
from astromesh_router.health import Answer, Dialects, ask
from astromesh_router.provider_conditions import conditions_of, next_change, not_offered
from astromesh_router.sharing import Store

AGAIN_SECONDS = 5.0
"""When what could not be told is told again."""

RETELL_SECONDS = 60.0
"""After so long the replica that checks says again what it said: whoever missed it learns it in the end."""

_log = logger(__name__)


class Circuits(Protocol):
    """Knows the circuits of endpoints."""

    def standing(self, endpoint: Endpoint) -> Iterable[Circuit]:
        """Those that may not be closed, or were open once."""
        ...


class Observations(Protocol):
    """Where observations go."""

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        """Stores the observation. Raises a TemporaryError."""
        ...


class ProviderChecks:
    """A task for each Provider, from the first that `follow` hears of to `close`."""

    def __init__(
        self,
        dialects: Dialects,
        circuits: Circuits,
        store: Store,
        observations: Observations,
        *,
        router: str,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`router` names this replica; `chance` draws from 0 to 1."""
        self._dialects = dialects
        self._circuits = circuits
        self._observations = observations
        self._clock = clock
        self._turns = CheckTurns(store, router, clock, chance)
        self._providers: dict[str, Observed] = {}
        self._records: dict[str, StoredEndpoint] = {}

    async def follow(self, changes: AsyncGenerator[ResourceChange, None]) -> None:
        """Observes every Provider as the changes declare it."""
        async with aclosing(changes):
            async for change in changes:
                if change.kind == "Provider":
                    self._changed(check_key(change.namespace, change.name), change.record)

    def hear(self, stored: StoredEndpoint) -> None:
        """Takes in what a replica wrote."""
        if stored.record.WhichOneof("kind") == "check":
            self._records[stored.key] = stored
            provider = self._providers.get(stored.key)
            if provider is not None and self._turns.take_over(provider, stored):
                provider.changed.set()

    def circuit_changed(self, endpoint: Endpoint) -> None:
        """A circuit at the endpoint has another state."""
        for provider in self._providers.values():
            if endpoint_of(provider.candidate) == endpoint:
                provider.changed.set()

    def known(self, candidate: Candidate) -> ProviderHealth | None:
        """See Standing.known."""
        namespace, _, name = candidate.resource.partition("/")
        provider = self._providers.get(check_key(namespace, name))
        if provider is None or endpoint_of(candidate) != endpoint_of(provider.candidate) or not provider.check.judged:
            return None
        check, model = provider.check, candidate.model
        if check.reachable and (check.offered or check.missing) and model not in (*check.offered, *check.missing):
            return None
        missing = not_offered(candidate, [model]) if model in check.missing else ""
        return ProviderHealth(
            provider=candidate.provider,
            endpoint=candidate.endpoint,
            reachable=check.reachable,
            reason=check.reason or missing,
        )

    async def close(self) -> None:
        """Observes nothing more."""
        tasks = [provider.task for provider in self._providers.values() if provider.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, key: str, record: ResourceRecord | None) -> None:
        before = self._providers.get(key)
        if before is not None and record is not None and before.ref == record.ref:
            return
        if before is not None and before.task is not None:
            before.task.cancel()
        self._providers.pop(key, None)
        if record is None:
            self._records.pop(key, None)
        provider = _observed(record, self._clock.seconds()) if record is not None else None
        if provider is None:
            return
        self._providers[key] = provider
        if key in self._records:
            self._turns.take_over(provider, self._records[key])
        provider.task = asyncio.create_task(self._observe(provider), name=f"checks of {provider.ref.name}")
        provider.task.add_done_callback(note_failure)

    async def _observe(self, provider: Observed) -> None:
        while True:
            provider.changed.clear()
            if self._clock.seconds() >= provider.due and await self._turns.claim(provider):
                await self._check(provider)
            wake = await self._tell(provider)
            try:
                async with asyncio.timeout(max(wake - self._clock.seconds(), 0.0)):
                    await provider.changed.wait()
            except TimeoutError:
                continue

    async def _check(self, provider: Observed) -> None:
        answer = await ask(provider.candidate, self._dialects, provider.patience)
        if answer.trouble and (provider.check.reachable or not provider.check.judged):
            _log.info("a provider does not answer", provider=provider.ref.name, reason=answer.trouble)
        await self._turns.publish(provider, found_of(answer, provider.models))
        if provider.told_at is not None and self._clock.seconds() - provider.told_at >= RETELL_SECONDS:
            provider.told = None

    async def _tell(self, provider: Observed) -> float:
        """Tells what is known, where it is news; when to look again."""
        circuits = list(self._circuits.standing(endpoint_of(provider.candidate)))
        conditions = conditions_of(provider.candidate, provider.check, circuits, self._clock)
        wake = min(provider.due, next_change(circuits, self._clock.seconds()) or provider.due)
        if conditions == provider.told or not provider.check.judged:
            return wake
        try:
            await self._observations.tell(provider.ref, self._dated(conditions), {})
        except TemporaryError as error:
            _log.warning("observation not told yet", provider=provider.ref.name, reason=error.message)
            return min(wake, self._clock.seconds() + AGAIN_SECONDS)
        provider.told, provider.told_at = conditions, self._clock.seconds()
        return wake

    def _dated(self, conditions: Iterable[Condition]) -> list[Condition]:
        dated: list[Condition] = []
        for condition in conditions:
            copy = Condition(last_transition_unix_nano=self._clock.nanos(self._clock.seconds()))
            copy.MergeFrom(condition)
            dated.append(copy)
        return dated


def found_of(answer: Answer, models: Iterable[str]) -> CheckRecord:
    """What an answer says of a Provider that declares these models."""
    if answer.trouble or not answer.models:
        return CheckRecord(judged=True, reachable=not answer.trouble, reason=answer.trouble)
    declared = list(models)
    missing = [model for model in declared if answer.lacks(model)]
    offered = [model for model in declared if model not in missing]
    return CheckRecord(judged=True, reachable=True, offered=offered, missing=missing)


def _observed(record: ResourceRecord, now: float) -> Observed | None:
    try:
        spec = ProviderSpec.from_json(record.spec_json)
    except ValidationError:
        return None  # of a later release; the operator says so
    named = NamedProvider(f"{record.ref.namespace}/{record.ref.name}", spec)
    (candidate,) = pool_of_provider(named).candidates
    models = tuple(offer.name for offer in spec.models)
    return Observed(record.ref, candidate, models, spec.health_check or HealthCheck(), now)


def note_failure(task: asyncio.Task[None]) -> None:
    """One task's failure is not another's, but it is not silent either."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("providers are not observed any more", task=task.get_name(), exc_info=error)
