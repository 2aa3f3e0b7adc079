"""Breakers alone and shared: who is refused and why, that one of many probes, what replicas learn from each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from astromesh_core.breaker import FORGET_SECONDS, State
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import InvalidInput, NotFound, RateLimited, TimedOut, Unavailable
from astromesh_core.resources.circuit_breakers import CircuitBreaker
from astromesh_core.telemetry.metrics import Metrics
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.app import open_calls
from astromesh_router.breakers import LONGEST_PAUSE_SECONDS, SharedBreakers
from astromesh_router.candidates import Candidate, Patience
from astromesh_router.circuits import Clock, circuit_key, circuit_of, endpoint_of
from astromesh_router.failures import CandidateFailed
from astromesh_router.ports import Refusal
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Refusal as Refused
from astromesh_testing.models.replies import Reply
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

from .asking import asking, complete, no_embedder, openai

CANDIDATE = Candidate("ollama", "ollama", "llama", "http://127.0.0.1:1", breaker=CircuitBreaker(cooldown_seconds=60))
NOON = 1_767_268_800.0


@dataclass
class Hands:
    """A clock that a test sets."""

    seconds: float = 1000.0
    clock: Clock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(lambda: self.seconds, lambda: NOON + self.seconds - 1000)


def refused(reason: str = "refused the connection") -> CandidateFailed:
    return CandidateFailed(Unavailable(reason), reason)


async def fail(breakers: SharedBreakers, times: int = 1, candidate: Candidate = CANDIDATE) -> None:
    for _ in range(times):
        (await breakers.admit(candidate)).failed(refused())


async def refusal(breakers: SharedBreakers, candidate: Candidate = CANDIDATE) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await breakers.admit(candidate)
    return caught.value


async def refuses(breakers: SharedBreakers, candidate: Candidate = CANDIDATE) -> str:
    """Why a call is refused; empty where it is not."""
    try:
        (await breakers.admit(candidate)).abandoned()
    except Refusal as told:
        return told.reason
    return ""


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def breakers(hands: Hands, metrics: Metrics) -> SharedBreakers:
    return SharedBreakers(metrics, clock=hands.clock)


async def test_a_refusal_says_until_when_and_why(breakers: SharedBreakers, hands: Hands) -> None:
    await fail(breakers, 3)
    hands.seconds += 5
    told = await refusal(breakers)
    assert told.reason == "circuit open until 12:01:00 UTC, after 3 failures: refused the connection"
    assert (told.retry_after, told.kind) == (55, Unavailable)


async def test_the_threshold_and_the_cooldown_are_the_candidates(breakers: SharedBreakers, hands: Hands) -> None:
    touchy = replace(CANDIDATE, breaker=CircuitBreaker(failure_threshold=1, cooldown_seconds=2))
    await fail(breakers, 1, touchy)
    assert await refuses(breakers, touchy)
    hands.seconds += 2
    assert not await refuses(breakers, touchy)


@pytest.mark.parametrize("error", [InvalidInput("answered 400"), NotFound("answered 404"), RateLimited("answered 429")])
async def test_what_the_caller_is_to_blame_for_opens_nothing(breakers: SharedBreakers, error: InvalidInput) -> None:
    for _ in range(10):
        (await breakers.admit(CANDIDATE)).failed(CandidateFailed(error, "answered", blames_endpoint=False))
    assert not await refuses(breakers)


async def test_a_timeout_counts_as_a_refused_connection_does(breakers: SharedBreakers) -> None:
    for error in (Unavailable("answered 500"), TimedOut("no first token"), Unavailable("broke off")):
        (await breakers.admit(CANDIDATE)).failed(CandidateFailed(error, str(error)))
    assert (await refuses(breakers)).endswith("after 3 failures: broke off")


async def test_one_endpoint_with_one_key_is_one_circuit_whatever_the_model(breakers: SharedBreakers) -> None:
    await fail(breakers, 3)
    assert await refuses(breakers, replace(CANDIDATE, model="another"))
    assert not await refuses(breakers, replace(CANDIDATE, key="${OTHER_KEY}"))
    assert not await refuses(breakers, replace(CANDIDATE, endpoint="http://127.0.0.1:2"))


async def test_who_is_less_patient_than_others_opens_no_circuit_for_them(breakers: SharedBreakers) -> None:
    await fail(breakers, 3, replace(CANDIDATE, patience=Patience(first_token=0.001)))
    assert not await refuses(breakers)


async def test_of_many_calls_after_the_cooldown_one_probes(breakers: SharedBreakers, hands: Hands) -> None:
    await fail(breakers, 3)
    hands.seconds += 60
    results = await asyncio.gather(*(breakers.admit(CANDIDATE) for _ in range(20)), return_exceptions=True)
    (probe,) = [result for result in results if not isinstance(result, Refusal)]
    assert not isinstance(probe, BaseException), probe
    assert (await refusal(breakers)).reason.startswith("circuit half-open, one call is trying it, after 3 failures")
    probe.succeeded()
    assert not await refuses(breakers)


async def test_a_429_pauses_the_key_at_its_endpoint_and_opens_nothing(breakers: SharedBreakers, hands: Hands) -> None:
    limited = CandidateFailed(RateLimited("answered 429", retry_after=20), "answered 429", blames_endpoint=False)
    (await breakers.admit(CANDIDATE)).failed(limited)
    told = await refusal(breakers, replace(CANDIDATE, model="another"))
    assert (told.reason, told.kind, told.retry_after) == (
        "rate-limited until 12:00:20 UTC",
        RateLimited,
        20,
    )
    assert not await refuses(breakers, replace(CANDIDATE, key="${OTHER_KEY}"))
    hands.seconds += 20
    assert not await refuses(breakers)
    assert list(breakers.standing(endpoint_of(CANDIDATE))) == []


async def test_a_key_that_has_to_wait_a_moment_is_waited_for_where_no_other_model_is_left(metrics: Metrics) -> None:
    async with (
        OpenAIChatServer(Refused(429, retry_after="1"), otherwise=Reply("Here.")) as server,
        open_calls(no_embedder, {}, Telemetry(), SharedBreakers(metrics)) as calls,
    ):
        with pytest.raises(RateLimited):
            await complete(calls, asking(), openai(server))
        assert (await complete(calls, asking(), replace(openai(server), max_retries=1))).text == "Here."
        assert len(server.requests) == 2, "nobody knocked while the key had to wait"


async def test_no_header_silences_a_key_for_ever(breakers: SharedBreakers, hands: Hands) -> None:
    limited = CandidateFailed(RateLimited("answered 429", retry_after=1e9), "answered 429", blames_endpoint=False)
    (await breakers.admit(CANDIDATE)).failed(limited)
    hands.seconds += LONGEST_PAUSE_SECONDS
    assert not await refuses(breakers)


async def test_states_and_openings_are_counted(breakers: SharedBreakers, hands: Hands, metrics: Metrics) -> None:
    labels = {"provider": "ollama", "endpoint": "http://127.0.0.1:1"}

    def circuits(state: str) -> float | None:
        return metrics.registry.get_sample_value("astromesh_circuits", {**labels, "state": state})

    await fail(breakers, 3)
    assert circuits("open") == 1
    hands.seconds += 60
    probe = await breakers.admit(CANDIDATE)
    assert (circuits("open"), circuits("half_open")) == (0, 1)
    probe.failed(refused())
    assert (circuits("open"), circuits("half_open")) == (1, 0)
    assert metrics.registry.get_sample_value("astromesh_circuit_openings_total", labels) == 2
    hands.seconds += 60
    (await breakers.admit(CANDIDATE)).succeeded()
    assert (circuits("open"), circuits("half_open")) == (0, 0)


async def test_of_endpoints_that_are_well_nothing_is_kept(breakers: SharedBreakers) -> None:
    for number in range(100):
        candidate = replace(CANDIDATE, endpoint=f"http://127.0.0.1:{number}")
        await fail(breakers, 1, candidate)
        (await breakers.admit(candidate)).succeeded()
        assert list(breakers.standing(endpoint_of(candidate))) == []


@dataclass
class Replica:
    """A router's breakers on a bus of its own; `changes` are the endpoints that it was told of."""

    breakers: SharedBreakers
    hands: Hands
    bus: Bus


@asynccontextmanager
async def replica(nats: NatsServer, name: str, hands: Hands | None = None) -> AsyncGenerator[Replica]:
    async with nats.bus("router", name=name) as bus:
        opened = hands or Hands()
        breakers = SharedBreakers(Metrics(), bus.endpoints, router=name, clock=opened.clock)
        caught_up = asyncio.Event()
        async with bus.endpoints.watch(breakers.hear, caught_up.set):
            await caught_up.wait()
            yield Replica(breakers, opened, bus)
        await breakers.close()


def state(replica: Replica) -> State:
    return next((circuit.state for circuit in replica.breakers.standing(endpoint_of(CANDIDATE))), State.CLOSED)


async def reaches(replica: Replica, wanted: State, seconds: float = 5.0) -> None:
    async def there() -> bool:
        return state(replica) is wanted

    await until(there, seconds, 0.005)


async def test_what_one_replica_opens_the_other_refuses_within_a_second(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        await fail(one.breakers, 3)
        await reaches(other, State.OPEN, 1.0)
        expected = "circuit open until 12:01:00 UTC, after 3 failures: refused the connection"
        assert await refuses(other.breakers) == expected


async def test_across_replicas_one_call_of_many_probes_and_all_hear_how_it_ended(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        await fail(one.breakers, 3)
        await reaches(other, State.OPEN)
        for _ in range(5):
            one.hands.seconds += 60
            other.hands.seconds += 60
            calls = [both.breakers.admit(CANDIDATE) for _ in range(10) for both in (one, other)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            (probe,) = [result for result in results if not isinstance(result, Refusal)]
            assert not isinstance(probe, BaseException), probe
            probe.failed(refused("answered 500"))
            for each in (one, other):
                await reaches(each, State.OPEN)
        one.hands.seconds += 60
        (await one.breakers.admit(CANDIDATE)).succeeded()
        await reaches(other, State.CLOSED)
        assert not await refuses(other.breakers)


async def test_a_probe_that_its_caller_abandons_is_free_for_the_other_replica(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        await fail(one.breakers, 3)
        await reaches(other, State.OPEN)
        one.hands.seconds = other.hands.seconds = 1060
        probe = await one.breakers.admit(CANDIDATE)
        await reaches(other, State.HALF_OPEN)
        assert await refuses(other.breakers)
        probe.abandoned()
        await reaches(other, State.OPEN)
        (await other.breakers.admit(CANDIDATE)).succeeded()
        await reaches(one, State.CLOSED)


async def test_a_replica_that_ends_while_it_probes_frees_the_slot(nats: NatsServer) -> None:
    async with replica(nats, "b") as other:
        async with replica(nats, "a") as one:
            await fail(one.breakers, 3)
            await reaches(other, State.OPEN)
            one.hands.seconds = other.hands.seconds = 1060
            probe = await one.breakers.admit(CANDIDATE)
            await reaches(other, State.HALF_OPEN)
            probe.abandoned()
        await reaches(other, State.OPEN)
        (await other.breakers.admit(CANDIDATE)).succeeded()


async def test_a_replica_that_dies_while_it_probes_keeps_nobody_out_for_ever(nats: NatsServer) -> None:
    async with replica(nats, "b") as other:
        async with replica(nats, "a") as one:
            await fail(one.breakers, 3)
            await reaches(other, State.OPEN)
            one.hands.seconds = other.hands.seconds = 1060
            await one.breakers.admit(CANDIDATE)
            await reaches(other, State.HALF_OPEN)
        other.hands.seconds += CANDIDATE.patience.whole
        (await other.breakers.admit(CANDIDATE)).succeeded()
        assert state(other) is State.CLOSED


async def test_a_replica_that_comes_later_knows_what_is_open(nats: NatsServer) -> None:
    async with replica(nats, "a") as one:
        await fail(one.breakers, 3)
        await stored(one, State.OPEN)
    async with replica(nats, "b") as late:
        assert await refuses(late.breakers)


async def stored(replica: Replica, wanted: State) -> None:
    """Waits until the bus holds the state."""

    async def there() -> bool:
        newest = await replica.bus.endpoints.newest(circuit_key(circuit_of(CANDIDATE)))
        return newest is not None and newest.record.circuit.state == list(State).index(wanted) + 1

    await until(there)


async def test_calls_write_nothing_and_changes_one_record_each(nats: NatsServer) -> None:
    async with replica(nats, "a") as one:
        for _ in range(50):
            (await one.breakers.admit(CANDIDATE)).succeeded()
            await fail(one.breakers, 2)
            (await one.breakers.admit(CANDIDATE)).succeeded()
        key = circuit_key(circuit_of(CANDIDATE))
        assert await one.bus.endpoints.newest(key) is None
        await fail(one.breakers, 3)
        await stored(one, State.OPEN)
        first = await one.bus.endpoints.newest(key)
        for _ in range(50):
            await refusal(one.breakers)
        one.hands.seconds += 60
        (await one.breakers.admit(CANDIDATE)).succeeded()
        await stored(one, State.CLOSED)
        last = await one.bus.endpoints.newest(key)
        assert first is not None
        assert last is not None
        assert last.revision - first.revision == 2  # half-open, closed


async def test_without_the_bus_a_replica_goes_by_what_it_knows_and_tells_it_later(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        await nats.kill()
        await fail(one.breakers, 3)
        assert await refuses(one.breakers)
        one.hands.seconds += 60
        probe = await one.breakers.admit(CANDIDATE)
        assert await refuses(one.breakers)
        await nats.restart()
        await other.bus.nc.online()
        await one.bus.nc.online()
        probe.failed(refused())
        await reaches(other, State.OPEN)


async def test_a_pause_is_shared(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        limited = CandidateFailed(RateLimited("answered 429", retry_after=20), "answered 429", blames_endpoint=False)
        (await one.breakers.admit(CANDIDATE)).failed(limited)
        expected = "rate-limited until 12:00:20 UTC"

        async def told() -> bool:
            return await refuses(other.breakers) == expected

        await until(told)


async def test_a_router_whose_clock_is_wrong_is_believed_no_longer_than_its_terms(nats: NatsServer) -> None:
    ahead = Hands()
    ahead.clock = Clock(lambda: ahead.seconds, lambda: NOON + 86_400)
    async with replica(nats, "a", ahead) as one, replica(nats, "b") as other:
        await fail(one.breakers, 3)
        await reaches(other, State.OPEN)
        assert (await refusal(other.breakers)).retry_after <= CANDIDATE.breaker.cooldown_seconds


async def test_what_nobody_tried_for_long_is_forgotten_by_all(nats: NatsServer) -> None:
    async with replica(nats, "a") as one, replica(nats, "b") as other:
        await fail(one.breakers, 3)
        await reaches(other, State.OPEN)
        other.hands.seconds += 60 + FORGET_SECONDS
        assert state(other) is State.CLOSED
        await fail(other.breakers, 3)
        await reaches(one, State.OPEN)
        told = (await refusal(one.breakers)).reason
        assert told.endswith("after 3 failures: refused the connection")
