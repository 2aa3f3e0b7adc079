"""GET /v1/costs: what is asked of history, and how its sums are told."""

from __future__ import annotations

import pytest

from astromesh.v1.history_pb2 import COST_GROUP_AGENT, COST_GROUP_DAY, CostSum, SumCostsRequest, SumCostsResponse
from astromesh.v1.values_pb2 import Usage

from .conftest import Mesh

USAGE = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=60, cache_written_tokens=5, estimated=True)
MARCH = 1_772_323_200_000_000_000


async def test_tells_the_sums_with_their_groups_and_the_total(mesh: Mesh) -> None:
    found = CostSum(agent="docs", day="2026-03-01", calls=4, estimated_calls=1, usage=USAGE, cost_nanos=2_500_000)
    mesh.services.history.costs = SumCostsResponse(sums=[found], total=found)
    reply = (await mesh.client.get("/v1/costs", params={"by": ["agent", "day", "agent"]})).json()
    told = {
        "calls": 4,
        "estimated_calls": 1,
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_input_tokens": 60,
        "cache_written_tokens": 5,
        "reasoning_tokens": 0,
        "estimated": True,
        "cost_usd": 0.0025,
    }
    assert reply == {
        "namespace": "default",
        "by": ["agent", "day"],
        "costs": [{**told, "agent": "docs", "day": "2026-03-01"}],
        "total": told,
    }
    assert list(mesh.services.history.summed[-1].group_by) == [COST_GROUP_AGENT, COST_GROUP_DAY]


async def test_asks_for_what_was_asked_in_the_callers_namespace(mesh: Mesh) -> None:
    query = {
        "agent": "docs",
        "principal": "support-team",
        "from": "2026-03-01T00:00:00Z",
        "until": "2026-03-02T01:00:00+01:00",
    }
    await mesh.client.get("/v1/costs", params=query, headers={"X-Astromesh-Namespace": "shop"})
    assert mesh.services.history.summed[-1] == SumCostsRequest(
        namespace="shop",
        agent="docs",
        principal="support-team",
        from_unix_nano=MARCH,
        until_unix_nano=MARCH + 86_400_000_000_000,
        group_by=[COST_GROUP_AGENT],
    )


@pytest.mark.parametrize("query", [{"by": "colour"}, {"from": "yesterday"}, {"namespace": "shop"}])
async def test_a_query_that_is_none_is_refused_by_name(mesh: Mesh, query: dict[str, str]) -> None:
    response = await mesh.client.get("/v1/costs", params=query)
    assert response.status_code == 422
    assert next(iter(query)) in response.text
