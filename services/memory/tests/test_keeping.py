"""A keeper compares its store with the ledger whenever somebody else took something out, at whatever moment that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from astromesh_core.bus.positions import Position
from astromesh_memory.runs.keeping import AgentKey, Keeper
from astromesh_memory.runs.ledger import RunRow
from astromesh_memory.runs.reading import LoggedRun

KEY = AgentKey("default", "desk", "episodic")
ROW = RunRow("r1", "default", "desk", "s", "", "", b"", 1, -1, 0, 1, 0)


class World:
    """The log, the ledger and the store: a run that is remembered, and a gate before whatever the store answers."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = asyncio.Event()

    async def rows(self, namespace: str, agent: str) -> list[RunRow]:
        return [ROW]

    async def row(self, run_id: str) -> RunRow | None:
        await self._pass()
        return ROW

    async def run(self, row: RunRow) -> LoggedRun | None:
        return LoggedRun(row, [], [])

    def version(self, row: RunRow) -> bytes:
        return b"1"

    async def versions(self) -> Mapping[str, bytes]:
        found = dict(self.kept)
        await self._pass()
        return found

    async def put(self, run: LoggedRun, *, afresh: bool = False) -> None:
        self.kept[run.row.run_id] = b"1"

    async def remove(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            self.kept.pop(run_id, None)

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def _pass(self) -> None:
        self.held.set()
        await self.gate.wait()


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def keeper(world: World) -> AsyncGenerator[Keeper]:
    async def opened() -> World:
        return world

    keeper = Keeper(KEY, opened, world, world)
    yield keeper
    await keeper.close()


async def taken_out(world: World, keeper: Keeper) -> None:
    """Somebody else empties the store while the keeper waits for an answer."""
    async with asyncio.timeout(5):
        await world.held.wait()
    world.kept.clear()
    keeper.again()
    world.gate.set()
    await keeper.sink(Position.START, 5)
    assert world.kept == {"r1": b"1"}


async def test_what_is_taken_out_while_the_store_is_compared_is_put_again(world: World, keeper: Keeper) -> None:
    world.kept["r1"] = b"1"
    world.gate.clear()
    keeper.start()
    await taken_out(world, keeper)


async def test_what_is_taken_out_while_a_run_is_put_is_put_again(world: World, keeper: Keeper) -> None:
    keeper.start()
    await keeper.sink(Position.START, 5)
    world.gate.clear()
    world.held.clear()
    keeper.offer(ROW.touched, Position(1))
    await taken_out(world, keeper)
