"""Asks a model in several ways by turns, from one process: one call after the other, at a fixed rate, and as fast as
it goes.

python bench/router_load.py '{"ways": [{"name": "straight", "client": "bare", "at": "http://127.0.0.1:1/v1"}]}'
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from time import perf_counter, process_time

import uvloop
from metronome import beats
from processes import reported, resident_bytes
from router_ways import Answered, Ask, Way, opened

from astromesh_core.garbage import settle
from astromesh_core.telemetry.logs import configure_logs

ANSWER = "forty-two"
_ROUND = 50
"""Calls of a way before it is the next one's turn."""

_PACED_SECONDS = 1.0
"""The same at a fixed rate."""

_KEEPS_UP = 0.5
"""Share of the rate: of a way that answers fewer, one round is enough to see it."""

_MOST_AT_ONCE = 256
"""Calls of an open load under way: those beyond wait, and their latency counts all the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each way is asked, one after the other; for how many seconds at `rate` a second; and how often with
    `at_once` under way."""

    ways: Sequence[Way]
    alone: int = 0
    paced_seconds: int = 0
    rate: int = 500
    full: int = 0
    at_once: int = 64
    warm: int = 100

    @property
    def asked_full(self) -> int:
        """How often a way is asked where only `full` is wanted, to warm it up included."""
        return self.warm + self.at_once + self.full


@dataclass
class Taken:
    """How long the calls of a way took. Seconds until the first words, and until the whole answer."""

    first: list[float] = field(default_factory=list[float])
    whole: list[float] = field(default_factory=list[float])
    wall: float = 0.0
    """How long all of them took."""
    cpu: float = 0.0
    """The CPU time of this process meanwhile."""

    @property
    def rate(self) -> float:
        """Calls that were answered a second."""
        return len(self.whole) / self.wall

    def note(self, since: float, answer: Answered) -> None:
        """One call, which was due at `since`. Raises RuntimeError for another answer than the stub's."""
        if ANSWER not in answer.text:
            raise RuntimeError(f"an answer that was not expected: {answer.text[:500]}")
        self.first.append(answer.first - since)
        self.whole.append(answer.whole - since)


@dataclass
class Measured:
    """What was measured of each way, by its name."""

    alone: dict[str, Taken]
    paced: dict[str, Taken]
    full: dict[str, Taken]
    resident: dict[str, int]
    """Of this process and its children, in bytes, by name."""


def measured(plan: Plan, core: int) -> Measured:
    """Carries out the plan in a process of its own on this core."""
    said = reported(__file__, json.dumps(asdict(plan)), core)
    alone, paced, full = (
        {name: Taken(**taken) for name, taken in said[phase].items()} for phase in ("alone", "paced", "full")
    )
    return Measured(alone, paced, full, said["resident"])


async def carry_out(plan: Plan) -> Measured:
    """Warms each way up, then measures, the ways by turns."""
    async with AsyncExitStack() as stack:
        asks = {way.name: await stack.enter_async_context(opened(way)) for way in plan.ways}
        for ask in asks.values():
            await _repeated(ask, plan.warm, Taken())
            await _at_once(ask, plan.at_once, plan.at_once, Taken())
        settle()
        alone = await _alone(asks, plan.alone)
        paced = await _paced(asks, plan)
        full = {name: Taken() for name in asks}
        for name, ask in asks.items():
            await _at_once(ask, plan.full, plan.at_once, full[name])
        return Measured(alone, paced, full, resident_bytes(os.getpid()))


async def _alone(asks: Mapping[str, Ask], calls: int) -> dict[str, Taken]:
    taken = {name: Taken() for name in asks}
    for name in _turns(asks, calls // _ROUND):
        await _repeated(asks[name], _ROUND, taken[name])
    return taken


async def _paced(asks: Mapping[str, Ask], plan: Plan) -> dict[str, Taken]:
    taken = {name: Taken() for name in asks}
    for name in _turns(asks, plan.paced_seconds):
        known = taken[name]
        if not known.whole or known.rate > plan.rate * _KEEPS_UP:
            await _open(asks[name], plan.rate, known)
    return taken


def _turns(asks: Mapping[str, Ask], rounds: int) -> Iterator[str]:
    """Whose turn it is; each round begins with the next one, since nobody shall always follow the same."""
    names = list(asks)
    for number in range(rounds):
        first = number % len(names)
        yield from names[first:] + names[:first]


async def _repeated(ask: Ask, calls: int, into: Taken) -> None:
    for _ in range(calls):
        begun = perf_counter()
        into.note(begun, await ask())


async def _at_once(ask: Ask, calls: int, at_once: int, into: Taken) -> None:
    numbers = iter(range(calls))

    async def worker() -> None:
        for _ in numbers:
            begun = perf_counter()
            into.note(begun, await ask())

    begun, used = perf_counter(), process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    into.wall += perf_counter() - begun
    into.cpu += process_time() - used


async def _open(ask: Ask, rate: int, into: Taken) -> None:
    """An open load: each call is due at its moment, whatever became of those before, and its latency counts from
    then, so that a way that falls behind cannot hide it."""
    room = asyncio.Semaphore(_MOST_AT_ONCE)

    async def call(due: float) -> None:
        async with room:
            into.note(due, await ask())

    begun = perf_counter()
    async with asyncio.TaskGroup() as calls:
        async for due in beats(rate, round(rate * _PACED_SECONDS)):
            calls.create_task(call(due))
    into.wall += perf_counter() - begun


def main() -> None:
    configure_logs("error", "json", record_content=False)
    told = json.loads(sys.argv[1])
    plan = Plan([Way(**way) for way in told.pop("ways")], **told)
    print(json.dumps(asdict(uvloop.run(carry_out(plan)))))


if __name__ == "__main__":
    main()
