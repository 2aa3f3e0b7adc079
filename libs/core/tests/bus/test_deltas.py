"""Deltas reach whoever follows the run, in order, and nobody else."""

import asyncio

from astromesh.v1.signal_pb2 import Delta
from astromesh_core.bus.connection import Bus
from astromesh_testing.commits import new_run
from astromesh_testing.nats import NatsServer


async def test_deltas_arrive_in_order_at_their_run_alone(nats: NatsServer) -> None:
    run, other = new_run(), new_run()
    async with (
        nats.bus("runtime") as runtime,
        nats.bus("gateway") as gateway,
        gateway.deltas.subscribe("default", run.id) as deltas,
    ):
        await gateway.nc.flush()
        for number in range(100):
            runtime.deltas.publish("default", Delta(run_id=other.id, text="not this"))
            runtime.deltas.publish("default", Delta(run_id=run.id, path="1", offset=number, text="x"))
        async with asyncio.timeout(5):
            offsets = [(await anext(deltas)).offset for _ in range(100)]
    assert offsets == list(range(100))


async def test_a_delta_is_dropped_while_the_bus_is_away(bus: Bus, nats: NatsServer) -> None:
    run = new_run()
    await nats.kill()
    while bus.health()[0].ok:  # noqa: ASYNC110 - the client tells of a loss to nobody but its health
        await asyncio.sleep(0.01)
    bus.deltas.publish("default", Delta(run_id=run.id, text="lost"))
    await nats.restart()
    await bus.nc.online()
    async with bus.deltas.subscribe("default", run.id) as deltas:
        bus.deltas.publish("default", Delta(run_id=run.id, text="heard"))
        async with asyncio.timeout(5):
            assert (await anext(deltas)).text == "heard"
