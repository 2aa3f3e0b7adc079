"""Sums of what model calls cost, on a real log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.history_pb2 import (
    COST_GROUP_AGENT,
    COST_GROUP_DAY,
    COST_GROUP_MODEL,
    COST_GROUP_PRINCIPAL,
    COST_GROUP_PROVIDER,
    CostGroup,
    SumCostsRequest,
)
from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.bus.connection import Bus
from astromesh_core.errors import InvalidInput
from astromesh_testing.commits import begun, completed
from astromesh_testing.contracts.placement import Placement

from .test_history import asked, history, record

if TYPE_CHECKING:
    from astromesh.v1.history_pb2_grpc import HistoryServiceAsyncStub

SECOND = 1_000_000_000


def at(day: int, hour: int = 12) -> int:
    """A time in March 2026, in Unix nanoseconds."""
    return int(datetime(2026, 3, day, hour, tzinfo=UTC).timestamp()) * SECOND


def question(agent: str = "docs", principal: str = "support-team") -> RunEvent:
    event = asked(agent=agent)
    event.requested.principal = principal
    return event


def replied(start: int, cost: int, model: str = "gpt-4o", *, estimated: bool = False) -> RunEvent:
    event = RunEvent()
    event.model_replied.path = "1"
    event.model_replied.timing.start_unix_nano = start
    usage = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=60, estimated=estimated)
    event.model_replied.charge.CopyFrom(Charge(provider="openai", model=model, usage=usage, cost_nanos=cost))
    return event


def broke_off(cost: int) -> RunEvent:
    """A call begun anew, of which a candidate broke off and another call before was lost."""
    event = begun()
    usage = Usage(input_tokens=100, output_tokens=3, estimated=True)
    event.model_call_begun.partial_charges.add(provider="ollama", model="llama", usage=usage, cost_nanos=cost)
    event.model_call_begun.lost_usage.CopyFrom(Usage(input_tokens=50, estimated=True))
    return event


@pytest.fixture
async def stub(placement: Placement, bus: Bus, tmp_path: Path) -> AsyncIterator[HistoryServiceAsyncStub]:
    """History, of a log of four runs."""
    await record(bus, question(), replied(at(1), 700), broke_off(30), replied(at(2), 5), completed(), time=at(2))
    await record(bus, question("helper"), replied(at(2, 0), 90, "gpt-4o-mini", estimated=True), time=at(2))
    await record(bus, question(principal="ops"), replied(at(1, 23), 2), time=at(1))
    await record(bus, question(), replied(at(1), 1_000_000), namespace="elsewhere", time=at(1))
    async with history(placement, bus, tmp_path) as found:
        yield found


Sums = list[tuple[str, int]]


async def sums(stub: HistoryServiceAsyncStub, group: CostGroup.ValueType, field: str, **of: object) -> Sums:
    request = SumCostsRequest(**{"namespace": "default", **of}, group_by=[group])  # pyright: ignore[reportArgumentType] - of its fields
    return [(getattr(each, field), each.cost_nanos) for each in (await stub.SumCosts(request)).sums]


async def test_costs_are_summed_by_agent_model_provider_day_and_key(stub: HistoryServiceAsyncStub) -> None:
    assert await sums(stub, COST_GROUP_AGENT, "agent") == [("docs", 737), ("helper", 90)]
    by_model = [("gpt-4o", 707), ("gpt-4o-mini", 90), ("llama", 30), ("", 0)]
    assert await sums(stub, COST_GROUP_MODEL, "model") == by_model
    assert await sums(stub, COST_GROUP_PROVIDER, "provider") == [("openai", 797), ("ollama", 30), ("", 0)]
    assert await sums(stub, COST_GROUP_DAY, "day") == [("2026-03-01", 702), ("2026-03-02", 125)]
    assert await sums(stub, COST_GROUP_PRINCIPAL, "principal") == [("support-team", 825), ("ops", 2)]


async def test_costs_may_be_grouped_by_several_at_once(stub: HistoryServiceAsyncStub) -> None:
    request = SumCostsRequest(namespace="default", group_by=[COST_GROUP_DAY, COST_GROUP_AGENT, COST_GROUP_DAY])
    found = [(each.day, each.agent, each.cost_nanos) for each in (await stub.SumCosts(request)).sums]
    assert found == [("2026-03-01", "docs", 702), ("2026-03-02", "helper", 90), ("2026-03-02", "docs", 35)]


async def test_charges_of_replies_broken_off_and_lost_calls_all_count(stub: HistoryServiceAsyncStub) -> None:
    total = (await stub.SumCosts(SumCostsRequest(namespace="default"))).total
    assert (total.calls, total.estimated_calls, total.cost_nanos) == (6, 3, 827)
    usage = total.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.estimated) == (550, 43, 240, True)


async def test_sums_are_of_what_is_asked_for(stub: HistoryServiceAsyncStub) -> None:
    assert await sums(stub, COST_GROUP_AGENT, "agent", agent="helper") == [("helper", 90)]
    assert await sums(stub, COST_GROUP_AGENT, "agent", principal="ops") == [("docs", 2)]
    assert await sums(stub, COST_GROUP_DAY, "day", from_unix_nano=at(2, 0)) == [("2026-03-02", 125)]
    assert await sums(stub, COST_GROUP_DAY, "day", until_unix_nano=at(2, 0)) == [("2026-03-01", 702)]
    assert await sums(stub, COST_GROUP_AGENT, "agent", namespace="nowhere") == []


async def test_without_a_namespace_a_key_is_summed_over_all(stub: HistoryServiceAsyncStub) -> None:
    total = (await stub.SumCosts(SumCostsRequest(principal="support-team"))).total
    assert total.cost_nanos == 1_000_825


async def test_a_group_that_is_none_is_refused(stub: HistoryServiceAsyncStub) -> None:
    with pytest.raises(InvalidInput, match="group_by"):
        await stub.SumCosts(SumCostsRequest(namespace="default", group_by=[77]))  # pyright: ignore[reportArgumentType] - of a later release
