"""Providers are checked at their interval by one replica, and what is told of them is true, on a real bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    CONDITION_STATUS_UNKNOWN,
    MANAGED_BY_FILE,
    Condition,
    ResourceRecord,
)
from astromesh.v1.endpoint_pb2 import CheckRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.breaker import FORGET_SECONDS, Circuit, State
from astromesh_core.bus.connection import Bus
from astromesh_core.bus.endpoint_store import StoredEndpoint
from astromesh_core.errors import Unavailable
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.telemetry.metrics import Metrics
from astromesh_router.breakers import SharedBreakers
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, NamedProvider, pool_of_provider
from astromesh_router.circuits import Clock
from astromesh_router.failures import CandidateFailed
from astromesh_router.health import Answer, Health
from astromesh_router.provider_checks import ProviderChecks, found_of
from astromesh_router.provider_conditions import conditions_of, next_change
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.models.ollama import OllamaServer
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.nats import NatsServer
from astromesh_testing.waiting import until

CANDIDATE = Candidate("ollama", "ollama", "a", "http://127.0.0.1:1")
CLOCK = Clock(lambda: 1000.0, lambda: 1_767_268_800.0)
OPEN = Circuit(State.OPEN, 3, "answered 500", until=1005.0, period=1)

TAGS = b'{"models": [{"name": "a"}]}'
Told = dict[str, tuple[str, str]]
STATUS = {CONDITION_STATUS_TRUE: "True", CONDITION_STATUS_FALSE: "False", CONDITION_STATUS_UNKNOWN: "Unknown"}


def told_of(conditions: Iterable[Condition]) -> Told:
    return {each.type: (STATUS[each.status], each.reason) for each in conditions}


def judged(check: CheckRecord, *circuits: Circuit) -> list[Condition]:
    return conditions_of(CANDIDATE, check, circuits, CLOCK)


def message(conditions: Iterable[Condition], kind: str) -> str:
    return next(condition.message for condition in conditions if condition.type == kind)


def test_a_provider_is_available_as_soon_as_one_of_its_models_is_offered() -> None:
    some = judged(found_of(Answer(models=("a:latest", "x")), ["a", "b"]))
    assert told_of(some)["ModelsAvailable"] == ("True", "SomeOffered")
    assert message(some, "ModelsAvailable") == "the model b is not offered; run `ollama pull b`"
    none = judged(found_of(Answer(models=("x",)), ["a", "b"]))
    assert told_of(none)["ModelsAvailable"] == ("False", "ModelMissing")
    assert told_of(judged(found_of(Answer(models=("a", "b")), ["a", "b"])))["ModelsAvailable"] == ("True", "Offered")


def test_a_provider_that_lists_no_models_is_trusted() -> None:
    assert told_of(judged(found_of(Answer(), ["a"])))["ModelsAvailable"] == ("True", "NotListed")


def test_of_the_models_of_one_that_does_not_answer_nothing_is_known() -> None:
    away = judged(found_of(Answer("refused the connection"), ["a"]))
    assert told_of(away) == {
        "EndpointReachable": ("False", "Unreachable"),
        "ModelsAvailable": ("Unknown", "Unreachable"),
        "CircuitClosed": ("True", "Closed"),
    }
    assert message(away, "EndpointReachable") == "refused the connection"


def test_the_worst_circuit_at_the_endpoint_is_told() -> None:
    well = found_of(Answer(models=("a",)), ["a"])
    opened = judged(well, Circuit(failures=1, reason="x"), OPEN)
    assert told_of(opened)["CircuitClosed"] == ("False", "Open")
    assert message(opened, "CircuitClosed") == "circuit open until 12:00:05 UTC, after 3 failures: answered 500"
    cooled = judged(well, replace(OPEN, until=999.0))
    assert told_of(cooled)["CircuitClosed"] == ("False", "HalfOpen")
    assert "the next call tries it" in message(cooled, "CircuitClosed")
    again = judged(well, Circuit(reason="answered 500", period=3))
    assert told_of(again)["CircuitClosed"] == ("True", "Closed")
    assert message(again, "CircuitClosed") == "it was open, after: answered 500"


def test_what_is_told_is_looked_at_again_when_time_changes_it() -> None:
    assert next_change([Circuit(), OPEN], 1000.0) == 1005.0
    assert next_change([OPEN], 1005.0) == 1005.0 + FORGET_SECONDS
    assert next_change([Circuit()], 1000.0) is None


@dataclass
class Notebook:
    """Observations as they were told, of each resource the last; `away` refuses them."""

    told: dict[str, Told] = field(default_factory=dict[str, Told])
    messages: dict[str, str] = field(default_factory=dict[str, str])
    times: int = 0
    away: bool = False

    async def tell(
        self, ref: ResourceRef, conditions: Iterable[Condition], figures: dict[str, int | float | str]
    ) -> None:
        if self.away:
            raise Unavailable("the bus is away")
        self.times += 1
        given = list(conditions)
        assert all(condition.last_transition_unix_nano for condition in given)
        self.told[ref.name] = told_of(given)
        self.messages[ref.name] = message(given, "CircuitClosed")


@dataclass
class Replica:
    """A router that observes Providers, on a bus of its own."""

    bus: Bus
    breakers: SharedBreakers
    checks: ProviderChecks
    notebook: Notebook

    async def tells(self, name: str, kind: str, expected: tuple[str, str], seconds: float = 5.0) -> None:
        async def so() -> bool:
            return self.notebook.told.get(name, {}).get(kind) == expected

        await until(so, seconds)


@asynccontextmanager
async def observing(nats: NatsServer, calls: Calls, name: str) -> AsyncGenerator[Replica]:
    async with nats.bus("router", name=name) as bus:
        clock, notebook = Clock(), Notebook()
        breakers = SharedBreakers(Metrics(), bus.endpoints, router=name)
        checks = ProviderChecks(calls.dialect, breakers, bus.endpoints, notebook, router=name, clock=clock)
        breakers.on_change = checks.circuit_changed

        def hear(stored: StoredEndpoint) -> None:
            breakers.hear(stored)
            checks.hear(stored)

        async with bus.endpoints.watch(hear):
            following = asyncio.create_task(checks.follow(bus.resources.watch()))
            yield Replica(bus, breakers, checks, notebook)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await checks.close()
            await breakers.close()


async def declare(bus: Bus, name: str, **spec: object) -> ResourceRecord:
    read = ProviderSpec.model_validate(spec, strict=False)
    ref = ResourceRef(kind="Provider", namespace="default", name=name)
    return await bus.resources.put(
        ResourceRecord(ref=ref, managed_by=MANAGED_BY_FILE, spec_json=read.to_json()),
    )


def candidate_of(name: str, **spec: object) -> Candidate:
    named = NamedProvider(f"default/{name}", ProviderSpec.model_validate(spec, strict=False))
    return pool_of_provider(named).candidates[0]


async def test_a_provider_is_followed_up_and_down_and_up(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async with observing(nats, calls, "a") as router:
        async with OllamaServer(models=["a"]) as server:
            port = int(server.url.rpartition(":")[2])
            spec = {"type": "ollama", "endpoint": server.url, "models": ["a"], "healthCheck": {"interval": "1s"}}
            await declare(bus, "local", **spec)
            await router.tells("local", "ModelsAvailable", ("True", "Offered"))
            assert router.notebook.told["local"]["EndpointReachable"] == ("True", "Answers")
        await router.tells("local", "EndpointReachable", ("False", "Unreachable"))
        async with OllamaServer(models=["b"], port=port):
            await router.tells("local", "ModelsAvailable", ("False", "ModelMissing"))


async def test_a_change_is_checked_at_once_whatever_the_interval(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async with observing(nats, calls, "a") as router, OllamaServer(models=["a"]) as server:
        spec = {"type": "ollama", "models": ["a"], "healthCheck": {"interval": "1h"}}
        await declare(bus, "local", endpoint="http://127.0.0.1:1", **spec)
        await router.tells("local", "EndpointReachable", ("False", "Unreachable"))
        await declare(bus, "local", endpoint=server.url, **spec)
        await router.tells("local", "EndpointReachable", ("True", "Answers"))


@pytest.mark.serial
async def test_one_replica_checks_and_all_of_them_know(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    requests: list[float] = []

    async def answer(exchange: Exchange) -> None:
        requests.append(asyncio.get_running_loop().time())
        await exchange.send(200, TAGS, "application/json")

    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(LoopbackServer(answer))
        routers = [await stack.enter_async_context(observing(nats, calls, name)) for name in "abc"]
        spec = {"type": "ollama", "endpoint": server.url, "models": ["a"], "healthCheck": {"interval": "1s"}}
        await declare(bus, "local", **spec)
        for router in routers:
            await router.tells("local", "ModelsAvailable", ("True", "Offered"))
            assert router.checks.known(candidate_of("local", **spec)) is not None
        await asyncio.sleep(3.0)
    pauses = [later - earlier for earlier, later in pairwise(requests)]
    assert 3 <= len(requests) <= 5, "three replicas, one check a second"
    assert min(pauses) > 0.5


async def test_what_is_known_is_told_once(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async with observing(nats, calls, "a") as router, OllamaServer(models=["a"]) as server:
        await declare(bus, "local", type="ollama", endpoint=server.url, models=["a"], healthCheck={"interval": "1s"})
        await router.tells("local", "EndpointReachable", ("True", "Answers"))
        await asyncio.sleep(2.5)
        assert router.notebook.times == 1


async def test_what_was_told_is_told_again_now_and_then(
    nats: NatsServer, bus: Bus, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astromesh_router.provider_checks.RETELL_SECONDS", 0.5)
    async with observing(nats, calls, "a") as router:
        await declare(bus, "local", type="extractive", healthCheck={"interval": "1s"})

        async def again() -> bool:
            return router.notebook.times == 2

        await until(again)


async def test_what_could_not_be_told_is_told_later(
    nats: NatsServer, bus: Bus, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astromesh_router.provider_checks.AGAIN_SECONDS", 0.1)
    async with observing(nats, calls, "a") as router:
        router.notebook.away = True
        await declare(bus, "local", type="extractive")
        await asyncio.sleep(0.3)
        router.notebook.away = False
        await router.tells("local", "EndpointReachable", ("True", "Answers"))


async def test_an_open_circuit_is_told_at_once_by_every_replica(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    breaker = {"failureThreshold": 1, "cooldownSeconds": 0.4}
    async with (
        observing(nats, calls, "a") as one,
        observing(nats, calls, "b") as other,
        OllamaServer(models=["a"]) as server,
    ):
        spec = {"type": "ollama", "endpoint": server.url, "models": ["a"], "circuitBreaker": breaker}
        await declare(bus, "local", **spec)
        for router in (one, other):
            await router.tells("local", "CircuitClosed", ("True", "Closed"))
        candidate = candidate_of("local", **spec)
        failure = CandidateFailed(Unavailable("answered 500"), "answered 500")
        (await one.breakers.admit(candidate)).failed(failure)
        for router in (one, other):
            await router.tells("local", "CircuitClosed", ("False", "Open"))
            assert "after 1 failure: answered 500" in router.notebook.messages["local"]
        for router in (one, other):
            await router.tells("local", "CircuitClosed", ("False", "HalfOpen"))
        (await other.breakers.admit(candidate)).succeeded()
        for router in (one, other):
            await router.tells("local", "CircuitClosed", ("True", "Closed"))
            assert router.notebook.messages["local"] == "it was open, after: answered 500"


PATHS: dict[str, tuple[int, bytes, tuple[str, str], tuple[str, str]]] = {
    "/api/tags": (200, TAGS, ("True", "Answers"), ("True", "Offered")),
    "/health": (200, b"OK", ("True", "Answers"), ("True", "NotListed")),
    "/deep/health?full=1": (204, b"", ("True", "Answers"), ("True", "NotListed")),
    "/ready": (503, b"loading", ("False", "Unreachable"), ("Unknown", "Unreachable")),
}


@pytest.mark.parametrize("path", PATHS)
async def test_the_declared_path_of_the_host_is_what_is_asked(
    nats: NatsServer, bus: Bus, calls: Calls, path: str
) -> None:
    status, body, reachable, available = PATHS[path]
    asked: list[str] = []

    async def answer(exchange: Exchange) -> None:
        asked.append(exchange.request.path)
        await exchange.send(status, body, "text/plain")

    async with observing(nats, calls, "a") as router, LoopbackServer(answer) as server:
        endpoint = f"{server.url}/some/where"
        await declare(bus, "local", type="ollama", endpoint=endpoint, models=["a"], healthCheck={"path": path})
        await router.tells("local", "EndpointReachable", reachable)
        assert router.notebook.told["local"]["ModelsAvailable"] == available
    assert set(asked) == {path}


async def test_a_check_takes_no_longer_than_its_timeout(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    async with observing(nats, calls, "a") as router, LoopbackServer(hang) as server:
        await declare(bus, "local", type="ollama", endpoint=server.url, healthCheck={"timeout": "200ms"})
        await router.tells("local", "EndpointReachable", ("False", "Unreachable"))
        health = router.checks.known(candidate_of("local", type="ollama", endpoint=server.url))
    assert health is not None
    assert health.reason.endswith("no answer within 0.2 s")


async def test_an_agents_model_is_judged_by_its_providers_check(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async with observing(nats, calls, "a") as router, OpenAIChatServer(models=["a", "c"]) as server:
        spec: dict[str, object] = {"type": "openai_compat", "endpoint": server.endpoint, "models": ["a", "b"]}
        await declare(bus, "lab", **spec)
        await router.tells("lab", "ModelsAvailable", ("True", "SomeOffered"))
        candidate = candidate_of("lab", **spec)
        health = Health(calls.dialect, router.checks.known, router.breakers.refusing)
        asked = [candidate, replace(candidate, model="b"), replace(candidate, model="c")]
        offered, missing, beside = await health.of(asked)
        assert (offered.reachable, offered.reason) == (True, "")
        assert (missing.reachable, missing.reason) == (True, "the model b is not offered")
        assert (beside.reason, list(beside.models)) == ("", ["a", "c"]), "asked, for the check did not say"
        for _ in range(3):
            (await router.breakers.admit(candidate)).failed(CandidateFailed(Unavailable("x"), "answered 500"))
        (refused,) = await health.of([candidate])
        assert not refused.reachable
        assert "circuit open until" in refused.reason


async def test_of_many_agents_with_one_endpoint_one_asks(calls: Calls) -> None:
    asked = 0

    async def answer(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        await exchange.send(200, TAGS, "application/json")

    async with LoopbackServer(answer) as server:
        health = Health(calls.dialect)
        candidate = replace(CANDIDATE, endpoint=server.url)
        once = await asyncio.gather(*(health.of([replace(candidate, model=model)]) for model in ("a", "b", "a")))
        again = await health.of([candidate])
    found = [each for (each,) in once]
    assert (asked, again) == (1, [found[0]])
    assert [each.reason for each in found] == ["", "the model b is not offered; run `ollama pull b`", ""]


async def test_a_provider_that_is_gone_is_checked_no_more(nats: NatsServer, bus: Bus, calls: Calls) -> None:
    async with observing(nats, calls, "a") as router, OllamaServer(models=["a"]) as server:
        await declare(bus, "local", type="ollama", endpoint=server.url, healthCheck={"interval": "1s"})
        await router.tells("local", "EndpointReachable", ("True", "Answers"))
        await bus.resources.delete("Provider", "default", "local", managed_by=MANAGED_BY_FILE)

        async def forgotten() -> bool:
            return router.checks.known(candidate_of("local", type="ollama", endpoint=server.url)) is None

        await until(forgotten)
