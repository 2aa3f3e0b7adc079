"""Whose turn it is to check a Provider: one replica's, by compare-and-set of the check's record in KV `endpoints`.

A record is written twice a check: to claim it, with what was found before, and with what was found. Whoever hears of
either waits for the next. Without the bus each replica has its own turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from astromesh.v1.control_pb2 import Condition
from astromesh.v1.endpoint_pb2 import CheckRecord, EndpointRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import AstromeshError, Conflict
from astromesh_core.resources.provider import HealthCheck, seconds
from astromesh_core.telemetry.logs import logger
from astromesh_router.candidates import Candidate
from astromesh_router.circuits import Clock
from astromesh_router.sharing import Store

JITTER = 0.1
"""Share of the interval by which checks are spread, so that those of many Providers do not fall together."""

_log = logger(__name__)


@dataclass
class Observed:
    """A Provider under observation, and what is known of it. `due` is when it is checked next."""

    ref: ResourceRef
    candidate: Candidate
    """For its first model."""
    models: tuple[str, ...]
    settings: HealthCheck
    due: float
    check: CheckRecord = field(default_factory=CheckRecord)
    revision: int = 0
    told: list[Condition] | None = None
    told_at: float | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """Where its check stands in KV."""
        return check_key(self.ref.namespace, self.ref.name)

    @property
    def interval(self) -> float:
        """In seconds."""
        return seconds(self.settings.interval)

    @property
    def patience(self) -> float:
        """How long an answer may take, in seconds."""
        return seconds(self.settings.timeout)


def check_key(namespace: str, name: str) -> str:
    """Where the check of a Provider stands in KV."""
    return f"check.{namespace}.{name}"


class CheckTurns:
    """Claims checks, publishes what they find, and takes over what others found. `router` names this replica."""

    def __init__(self, store: Store, router: str, clock: Clock, chance: Callable[[], float]) -> None:
        """`chance` draws from 0 to 1."""
        self._store = store
        self._router = router
        self._clock = clock
        self._chance = chance

    async def claim(self, provider: Observed) -> bool:
        """Whether this replica is to check the Provider now. Either way its next turn is put off."""
        self._put_off(provider, provider.interval)
        claim = CheckRecord()
        if provider.check.ref == provider.ref:
            claim.CopyFrom(provider.check)
        claim.ref.CopyFrom(provider.ref)
        claim.time_unix_nano = self._clock.nanos(self._clock.seconds())
        claim.router = self._router
        provider.check = claim
        try:
            await self._put(provider)
        except Conflict:
            await self._yield(provider)
            return False
        except AstromeshError as error:
            _log.warning("a provider is checked without asking the other routers", reason=error.message)
        return True

    async def publish(self, provider: Observed, found: CheckRecord) -> None:
        """Has the others know what the claimed check found."""
        found.ref.CopyFrom(provider.ref)
        found.time_unix_nano, found.router = provider.check.time_unix_nano, self._router
        provider.check = found
        try:
            await self._put(provider)
        except AstromeshError as error:
            _log.warning("other routers were not told of a check", provider=provider.ref.name, reason=error.message)

    def take_over(self, provider: Observed, stored: StoredEndpoint) -> bool:
        """Takes over what another replica claimed or found, of this very version; whether it was news.

        What was not well is checked anew by who has just come: perhaps that is why he came.
        """
        check = stored.record.check
        if stored.revision <= provider.revision:
            return False
        provider.revision = stored.revision
        if check.router == self._router or check.ref != provider.ref:
            return False
        provider.check = check
        if provider.told_at is not None or check.reachable or not check.judged:
            begun = self._clock.unix() - check.time_unix_nano / 1e9
            self._put_off(provider, min(max(provider.interval - begun, 0.0), provider.interval))
        return True

    async def _yield(self, provider: Observed) -> None:
        """After another write came first."""
        try:
            newest = await self._store.newest(provider.key)
        except AstromeshError as error:
            _log.warning("it is not known who checks a provider", provider=provider.ref.name, reason=error.message)
            return
        if newest is None:
            provider.revision = 0  # it has expired
            provider.due = self._clock.seconds()
            return
        self.take_over(provider, newest)
        if newest.record.check.router == self._router or newest.record.check.ref != provider.ref:
            # What we wrote ourselves and had no answer to, or a check of another version.
            provider.due = self._clock.seconds()

    async def _put(self, provider: Observed) -> None:
        record = EndpointRecord(check=provider.check)
        lasts = 3 * provider.interval + provider.patience
        provider.revision = await self._store.put(provider.key, record, expected=provider.revision, ttl=lasts)

    def _put_off(self, provider: Observed, by: float) -> None:
        spread = provider.interval * JITTER * (self._chance() - 0.5)
        provider.due = self._clock.seconds() + max(by + spread, 0.0)
