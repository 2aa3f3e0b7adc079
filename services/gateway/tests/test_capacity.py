"""How many runs a namespace may have open, by what workers tell and what they cannot have told yet."""

from __future__ import annotations

import pytest

from astromesh_core.errors import RateLimited
from astromesh_gateway.capacity import Capacity

TOLD_EVERY = 0.25


class World:
    """A clock, and one worker that tells its open runs now and then."""

    def __init__(self) -> None:
        self.time = 100.0
        self.told = (self.time, 0)

    def now(self) -> float:
        return self.time

    def tell(self, open_runs: int, *, later: float = TOLD_EVERY) -> None:
        self.time += later
        self.told = (self.time, open_runs)

    def open_runs(self, namespace: str) -> int:
        del namespace
        return self.told[1]

    def heard_at(self) -> float:
        return self.told[0]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def capacity(world: World) -> Capacity:
    return Capacity(world, lambda _: 3, world.now)


def test_a_burst_is_refused_from_the_limit_on_though_no_worker_told_of_it(capacity: Capacity) -> None:
    for number in range(3):
        capacity.take("ns", f"run-{number}")
    with pytest.raises(RateLimited, match="3 open runs"):
        capacity.take("ns", "run-3")
    capacity.take("other", "run-3")


def test_a_run_that_a_worker_tells_of_is_counted_once(world: World, capacity: Capacity) -> None:
    capacity.take("ns", "one")
    capacity.take("ns", "two")
    world.tell(2)
    capacity.take("ns", "three")
    with pytest.raises(RateLimited):
        capacity.take("ns", "four")


def test_a_run_that_no_worker_can_have_taken_in_is_counted_beside_what_is_told(
    world: World, capacity: Capacity
) -> None:
    world.tell(2)
    capacity.take("ns", "three")
    world.tell(2, later=0.01)
    with pytest.raises(RateLimited):
        capacity.take("ns", "four")


def test_a_run_that_ended_makes_room(world: World, capacity: Capacity) -> None:
    for number in range(3):
        capacity.take("ns", f"run-{number}")
    capacity.give_back("ns", "run-1")
    capacity.take("ns", "run-3")
    world.tell(3)
    with pytest.raises(RateLimited):
        capacity.take("ns", "run-4")
    world.tell(0)
    capacity.take("ns", "run-4")
