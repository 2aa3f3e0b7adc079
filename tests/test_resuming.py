"""Streams of a run's events under random disconnects: nothing lost, nothing twice, wherever the reader resumes.

Here a seeded sample; `make soak` runs `SOAK_DISCONNECTS` of them.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from astromesh_testing.mesh import Mesh
from astromesh_testing.sse import messages

from .asking import STREAM, events_of, settled, start
from .conftest import Record, Talking

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(0)]

DISCONNECTS = int(os.environ.get("SOAK_DISCONNECTS", "40"))
SEED = os.environ.get("SEED", "astromesh")
NO_CONTENT = 204
QUESTIONS = ("slowly one two three four five six", "add 3 4", "hold resumed 0.2")


async def read_with_disconnects(mesh: Mesh, run_id: str, chance: random.Random) -> tuple[list[int], int]:
    """The indexes received until the run's end, and how often the reader left."""
    indexes: list[int] = []
    left = 0
    while True:
        headers = {**STREAM, **({"Last-Event-ID": str(indexes[-1])} if indexes else {})}
        patience = chance.choice((0, 1, 2, 3, 5, 8))
        async with mesh.client.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as response:
            if response.status_code == NO_CONTENT:
                return indexes, left
            assert response.status_code == 200
            async for message in messages(response):
                if message.id:
                    indexes.append(int(message.id))
                if message.name in ("done", "error"):
                    return indexes, left
                patience -= 1
                if patience < 0:
                    break
            else:
                raise AssertionError("the stream ended before the run")
        left += 1


@pytest.mark.serial
async def test_a_reader_that_leaves_at_random_misses_nothing_and_reads_nothing_twice(
    talking: Talking, record: Record
) -> None:
    chance = random.Random(SEED)
    total = checked = events = 0
    while total < DISCONNECTS:
        runs = [await start(talking.mesh, chance.choice(QUESTIONS)) for _ in range(4)]
        read = await asyncio.gather(
            *(read_with_disconnects(talking.mesh, run, random.Random(chance.random())) for run in runs)
        )
        for run_id, (indexes, left) in zip(runs, read, strict=True):
            await settled(talking.mesh, run_id)
            stored = [event["index"] for event in await events_of(talking.mesh, run_id)]
            assert indexes == stored
            total, checked, events = total + left, checked + 1, events + len(stored)
    record(
        f"disconnects, {'processes' if talking.mesh.processes else 'one process'}",
        {"disconnects": total, "runs": checked, "events": events, "lost": 0, "twice": 0},
    )


async def test_a_reader_that_has_everything_is_told_to_stop(talking: Talking) -> None:
    run_id = await start(talking.mesh, "say done")
    events = (await settled(talking.mesh, run_id))["events"]
    path = f"/v1/runs/{run_id}/events"
    ended = await talking.mesh.client.get(path, headers={**STREAM, "Last-Event-ID": str(events - 1)})
    assert ended.status_code == 204
    beyond = await talking.mesh.client.get(path, headers={**STREAM, "Last-Event-ID": str(events)})
    assert beyond.status_code == 400
    rubbish = await talking.mesh.client.get(path, headers={**STREAM, "Last-Event-ID": "minus one"})
    assert rubbish.status_code == 400
