"""What is full, and what is poison: refused or set aside with its reason, nothing lost, and everybody else served."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

import httpx
import pytest

from astromesh.v1.control_pb2 import DeadLetter
from astromesh_core.bus.log import StoreFull
from astromesh_core.bus.permissions import ADMIN
from astromesh_core.bus.positions import Position
from astromesh_core.bus.reading import StreamReader
from astromesh_core.bus.streams import DEAD
from astromesh_core.bus.subjects import run_aggregate, signal_subject
from astromesh_core.events.identity import partition_of_run
from astromesh_testing.mesh import Mesh
from astromesh_testing.talkative import SLOW_PAUSE_SECONDS
from astromesh_testing.waiting import until

from .asking import Json, ask, proven, run_of, settled, start
from .conftest import OpenMesh

STORE_BYTES = 12_000_000
PIECE_BYTES = 100_000

pytestmark = [pytest.mark.serial, pytest.mark.timeout(120)]


async def test_a_full_namespace_is_told_when_to_come_back_and_others_are_served(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    talking.folder.runtime(admission={"max_open_runs": 3})
    mesh = talking.mesh

    async def refused() -> httpx.Response | None:
        """A refusal, once the limit has taken effect: until then there is room for many."""
        response = await mesh.client.post("/v1/agents/talker/runs", json={"query": "hang"})
        return response if response.status_code != 202 else None

    response = await until(refused)
    assert response is not None
    assert (response.status_code, response.json()["status"]) == (429, 429)
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["content-type"] == "application/problem+json"
    there = await ask(mesh, "say served", namespace="elsewhere")
    assert there.json()["answer"] == "served"

    async def listed() -> list[Json]:
        page = (await mesh.client.get("/v1/runs", params={"agent": "talker"})).json()
        return page["runs"] if len(page["runs"]) >= 3 else []

    for run in await until(listed):
        assert (await mesh.client.post(f"/v1/runs/{run['run_id']}/cancel")).json()["status"] == "cancelled"

    async def room() -> httpx.Response | None:
        response = await ask(mesh, "say room")
        return None if response.status_code == 429 else response

    served = await until(room)
    assert served is not None
    assert served.json()["answer"] == "room"


async def dead_letters(mesh: Mesh, count: int) -> list[DeadLetter]:
    """What stream DEAD holds, once there are so many."""
    async with mesh.bus() as bus:

        async def stored() -> list[DeadLetter]:
            found = await StreamReader(bus.nc, DEAD).batch("dead.>", Position.START)
            return [DeadLetter.FromString(message.data) for message in found] if len(found) >= count else []

        return await until(stored)


async def test_a_poison_message_is_set_aside_with_its_reason_and_the_queue_goes_on(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    mesh = talking.mesh
    first = await start(mesh, "say before", session_id="poisoned")
    await settled(mesh, first)
    partition = partition_of_run(first)
    poisoned = run_aggregate("default", f"{partition:02d}-{'a' * 26}")
    async with mesh.bus() as bus:
        for subject in (poisoned.requested, signal_subject("default", first)):
            await bus.nc.ask(subject, b"\xff\xff this is no protobuf")
    assert (await ask(mesh, "say after", session_id="poisoned")).json()["answer"] == "after"
    letters = await dead_letters(mesh, 2)
    assert all(letter.reason and letter.error_class and letter.payload for letter in letters)
    hanging = await start(mesh, "hang", session_id="poisoned")
    cancelled = await mesh.client.post(f"/v1/runs/{hanging}/cancel")
    assert cancelled.json()["status"] == "cancelled", "signals of the same partition are still heard"


async def fill(mesh: Mesh, pieces: int = 10_000) -> None:
    """Puts so many pieces of data into the server's store, or as many as there is room for."""
    async with mesh.bus() as bus:
        with suppress(StoreFull):
            for _ in range(pieces):
                await bus.values.put(secrets.token_bytes(PIECE_BYTES))


async def test_a_full_store_refuses_new_runs_loses_none_and_takes_them_again(open_mesh: OpenMesh) -> None:
    talking = await open_mesh(nats_max_store_bytes=STORE_BYTES)
    mesh = talking.mesh
    answered = {reply["run_id"]: reply["answer"] for reply in [(await ask(mesh, f"say {n}")).json() for n in range(10)]}
    await fill(mesh, STORE_BYTES * 3 // 4 // PIECE_BYTES)
    open_runs = [await start(mesh, f"slowly {number}" + " word" * 60) for number in range(4)]
    await fill(mesh)

    refusal = await ask(mesh, "say more")
    assert refusal.status_code == 503, refusal.text
    assert "retry-after" in refusal.headers
    assert "full" in refusal.json()["detail"]

    async def unready() -> str:
        response = await mesh.client.get("/v1/health/ready")  # a good report is kept for a second
        return response.text if response.status_code == 503 else ""

    assert "store is full" in await until(unready)
    await asyncio.sleep(SLOW_PAUSE_SECONDS * 60 + 1)  # the models have answered, and no answer can be stored
    for run_id in open_runs:
        assert (await run_of(mesh, run_id))["status"] == "running", "accepted before: neither lost nor failed"
    for run_id, answer in answered.items():
        assert (await run_of(mesh, run_id))["answer"] == answer, "what is stored is still read"

    assert await mesh.stop() == 0
    mesh.settings["nats_max_store_bytes"] = 20 * STORE_BYTES
    await mesh.start()
    assert (await ask(mesh, "say room again")).json()["answer"] == "room again"
    for number, run_id in enumerate(open_runs):
        run = await settled(mesh, run_id)
        assert (run["status"], run["answer"]) == ("completed", f"{number}" + " word" * 60)
        await proven(mesh, run_id)
    for run_id, answer in answered.items():
        assert (await run_of(mesh, run_id))["answer"] == answer
        await proven(mesh, run_id)


async def test_nobody_may_delete_from_the_log(open_mesh: OpenMesh) -> None:
    talking = await open_mesh()
    run_id = (await ask(talking.mesh, "say kept")).json()["run_id"]
    async with talking.mesh.bus(ADMIN) as bus:
        await bus.nc.publish("$JS.API.STREAM.PURGE.RUNS", b"")
        await bus.nc.publish("$JS.API.STREAM.DELETE.RUNS", b"")
    assert (await run_of(talking.mesh, run_id))["answer"] == "kept"
    await proven(talking.mesh, run_id)
