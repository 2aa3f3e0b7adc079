"""Whether this process can do its work: named checks, each with a reason. Whoever depends on something registers a
check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from astromesh_core.errors import AstromeshError
from astromesh_core.telemetry.logs import logger

CHECK_TIMEOUT = 2.0
"""Seconds that one check may take; a slower one counts as red."""

CACHED_FOR = 1.0
"""Seconds that a good report stands: probes of any number cost one round of checks."""

CACHED_BAD_FOR = 0.05
"""Seconds that a bad one does: whoever waits for a mesh to be ready should learn of it at once."""

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """What a check found. `reason` says what is wrong, and what to do, or how it is doing."""

    ok: bool
    reason: str = ""


Check = Callable[[], Awaitable[Health]]

Source = Callable[[], Iterable[tuple[str, bool, str]]]
"""Tells name, health and reason of several parts at once, without waiting."""


@dataclass(frozen=True, slots=True)
class Report:
    """All checks at one moment, by name."""

    checks: dict[str, Health]

    @property
    def ok(self) -> bool:
        """True where every check is."""
        return all(health.ok for health in self.checks.values())


class Readiness:
    """Collects checks and asks them, all at once; while they are good, at most once a second."""

    def __init__(self, clock: Callable[[], float] = monotonic, check_timeout: float = CHECK_TIMEOUT) -> None:
        self._clock = clock
        self._timeout = check_timeout
        self._checks: dict[str, Check] = {}
        self._sources: list[Source] = []
        self._report = Report({})
        self._good_until = 0.0
        self._asking = asyncio.Lock()

    def register(self, name: str, check: Check) -> None:
        """Adds a check, or replaces the one of that name. It counts from the next report on."""
        self._checks[name] = check
        self._good_until = 0.0

    def include(self, source: Source) -> None:
        """Adds whatever the source tells at each report, for parts that come and go."""
        self._sources.append(source)
        self._good_until = 0.0

    def unregister(self, name: str) -> None:
        """Removes a check, for example of a resource that is gone."""
        self._checks.pop(name, None)
        self._good_until = 0.0

    async def report(self) -> Report:
        """The state of every check, at most a second old. Never raises: a check that does is red, with its reason."""
        async with self._asking:
            if self._clock() >= self._good_until:
                names = sorted(self._checks)
                found = await asyncio.gather(*map(self._ask, names), return_exceptions=True)
                checks = {name: _health(name, result, self._timeout) for name, result in zip(names, found, strict=True)}
                checks |= {name: Health(ok, reason) for source in self._sources for name, ok, reason in source()}
                self._report = Report(checks)
                self._good_until = self._clock() + (CACHED_FOR if self._report.ok else CACHED_BAD_FOR)
            return self._report

    async def _ask(self, name: str) -> Health:
        async with asyncio.timeout(self._timeout):
            return await self._checks[name]()


def _health(name: str, result: Health | BaseException, timeout: float) -> Health:
    if isinstance(result, Health):
        return result
    if isinstance(result, TimeoutError):
        return Health(False, f"no answer within {timeout:g} s")
    if isinstance(result, AstromeshError):
        return Health(False, result.message)
    _log.error("a readiness check raised", check=name, exc_info=result)
    return Health(False, f"the check itself failed: {type(result).__name__}")
