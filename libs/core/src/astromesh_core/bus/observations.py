"""What services observe of resources, on its way to the operator, who turns it into status."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

import orjson

from astromesh.v1.control_pb2 import Condition, Observation
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.bus.answers import Stored, read_answer
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.records import key_of
from astromesh_core.bus.streams import OBSERVATIONS
from astromesh_core.bus.subjects import observation_subject
from astromesh_core.errors import Unavailable

if TYPE_CHECKING:
    from astromesh_core.bus.broker import Broker

CONSUMER = "status"


class Observations:
    """Tells what this service observes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        """Stores the observation; a later one of the same resource takes its place. Raises Unavailable or TimedOut."""
        observation = Observation(
            ref=ref,
            service=self._bus.service,
            time_unix_nano=time.time_ns(),
            conditions=conditions,
            figures_json=orjson.dumps(figures).decode(),
        )
        subject = observation_subject(self._bus.service, key_of(ref.kind, ref.namespace, ref.name))
        answer = read_answer(await self._bus.nc.ask(subject, observation.SerializeToString()))
        if not isinstance(answer, Stored):
            raise Unavailable(f"the observation was not stored: {answer}")


def consume_observations(broker: Broker, handle: Callable[[Observation], Awaitable[None]]) -> None:
    """Has the operator's handler called with every observation, in order, at least once each."""
    # Imported here because FastStream is slow to import, and who only tells does not need it.
    from astromesh_core.bus.broker import Consumption

    broker.consume(Consumption(OBSERVATIONS, "observation.>", CONSUMER), Observation, handle)
