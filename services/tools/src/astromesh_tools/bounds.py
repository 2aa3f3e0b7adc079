"""The bounds of one tool: calls at once, calls in a time, and the circuit before it. They hold within this process.

A call that would go beyond them waits for as long as it may still begin, and is then refused, definitely: nothing was
done. What counts as the tool's failure: any that its caller is not to blame for, and an open outcome.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from astromesh.v1.values_pb2 import Failure, ResourceRef, ToolResult
from astromesh_core.breaker import Circuit, Leave, Outcome, State, Terms, knock, report
from astromesh_core.errors import (
    AstromeshError,
    BudgetExceeded,
    Cancelled,
    Conflict,
    Denied,
    InvalidInput,
    LimitExceeded,
    NotFound,
    NotSupported,
    PolicyRefused,
    RateLimited,
    Unavailable,
)
from astromesh_core.events.contents import plain
from astromesh_core.resources.agent_tools import ToolSpec as Declared
from astromesh_core.telemetry.logs import logger
from astromesh_tools.rates import Window

_KEPT: Final = 4_096
_LONGEST_REASON: Final = 200

_BLAMELESS: Final = frozenset(
    error.code
    for error in (
        InvalidInput,
        NotFound,
        Conflict,
        Denied,
        PolicyRefused,
        BudgetExceeded,
        LimitExceeded,
        NotSupported,
        RateLimited,
        Cancelled,
    )
)
"""Failures by which a tool that works answers."""

_log = logger(__name__)


class Refused(Exception):
    """The call was not begun."""

    def __init__(self, error: AstromeshError) -> None:
        super().__init__(error.message)
        self.error = error


class Bounds:
    """What is under way of one tool, and how it did lately."""

    def __init__(self, declared: Declared, longest_call: float, seconds: Callable[[], float]) -> None:
        self._name = declared.name
        self._seconds = seconds
        most, rate, breaker = declared.max_concurrency, declared.rate_limit, declared.circuit_breaker
        self._most = most
        self._slots = asyncio.Semaphore(most) if most is not None else None
        self._window = Window(rate.max_calls, rate.window_seconds) if rate is not None else None
        self._terms = (
            Terms(breaker.failure_threshold, breaker.cooldown_seconds, longest_call) if breaker is not None else None
        )
        self._circuit = Circuit()

    async def through(
        self, call: Callable[[], Awaitable[ToolResult | Failure]], patience: float
    ) -> ToolResult | Failure:
        """What the call comes to. Raises Refused where it was not begun within so many seconds, and what it raises."""
        leave = self._leave()
        ended, reason = Outcome.ABANDONED, ""
        try:
            async with self._place(patience):
                outcome = await call()
            ended, reason = _judged(outcome)
            return outcome
        except AstromeshError as error:
            ended, reason = Outcome.FAILED, error.message
            raise
        finally:
            self._report(leave, ended, reason)

    def _leave(self) -> Leave | None:
        if self._terms is None:
            return None
        now = self._seconds()
        self._circuit, leave = knock(self._circuit, now, self._terms)
        if leave is None:
            circuit, wait = self._circuit, max(0.0, self._circuit.until - now)
            told = f"{self._name} is left alone: it failed {circuit.failures} times in a row, last: {circuit.reason}"
            raise Refused(Unavailable(told, retry_after=round(wait, 1)))
        return leave

    def _report(self, leave: Leave | None, ended: Outcome, reason: str) -> None:
        if leave is None or self._terms is None:
            return
        before = self._circuit
        self._circuit = report(before, leave, ended, self._seconds(), self._terms, reason[:_LONGEST_REASON])
        if self._circuit.state is State.OPEN and self._circuit is not before and ended is Outcome.FAILED:
            _log.warning("a tool is left alone", tool=self._name, failures=self._circuit.failures, reason=reason[:200])

    @asynccontextmanager
    async def _place(self, patience: float) -> AsyncGenerator[None]:
        deadline = self._seconds() + patience
        try:
            async with asyncio.timeout(patience):
                if self._slots is not None:
                    await self._slots.acquire()
        except TimeoutError:
            raise Refused(RateLimited(f"{self._name} is busy: it may run {self._most} times at once")) from None
        try:
            await self._turn(deadline)
            yield
        finally:
            if self._slots is not None:
                self._slots.release()

    async def _turn(self, deadline: float) -> None:
        while self._window is not None and (wait := self._window.take(now := self._seconds())) > 0:
            if now + wait > deadline:
                told = f"{self._name} was called too often: a call may begin again in {wait:.1f} s"
                raise Refused(RateLimited(told, retry_after=round(wait, 1)))
            await asyncio.sleep(wait)


class BoundsOfTools:
    """The bounds of every tool that declares some. They outlast an edit of the agent that leaves them as they are."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[tuple[str, str, str, str], Bounds] = OrderedDict()

    def of(self, declared: Declared, agent: ResourceRef, longest_call: float) -> Bounds:
        """Those of the agent's entry of this name."""
        said = declared.model_dump_json(include={"max_concurrency", "rate_limit", "circuit_breaker"})
        key = (agent.namespace, agent.name, declared.name, said)
        bounds = self._kept.pop(key, None) or Bounds(declared, longest_call, self._seconds)
        self._kept[key] = bounds
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return bounds


def _judged(outcome: ToolResult | Failure) -> tuple[Outcome, str]:
    if isinstance(outcome, ToolResult):
        return Outcome.SUCCEEDED, ""
    if outcome.error_class in _BLAMELESS:
        return Outcome.ABANDONED, ""
    return Outcome.FAILED, plain(outcome.message)
