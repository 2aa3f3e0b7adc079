"""GET /v1/costs: what model calls have cost, by the log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NotRequired

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from astromesh.v1.history_pb2 import (
    COST_GROUP_AGENT,
    COST_GROUP_DAY,
    COST_GROUP_MODEL,
    COST_GROUP_PRINCIPAL,
    COST_GROUP_PROVIDER,
    CostGroup,
    CostSum,
    SumCostsRequest,
)
from astromesh_gateway.access import TheGateway, Viewer
from astromesh_gateway.documentation import errors
from astromesh_gateway.moments import unix_nano
from astromesh_gateway.replies import UsageReply, usage_reply

router = APIRouter(prefix="/v1/costs", tags=["costs"])

Group = Literal["agent", "provider", "model", "day", "principal"]
_GROUPS: dict[Group, CostGroup.ValueType] = {
    "agent": COST_GROUP_AGENT,
    "provider": COST_GROUP_PROVIDER,
    "model": COST_GROUP_MODEL,
    "day": COST_GROUP_DAY,
    "principal": COST_GROUP_PRINCIPAL,
}


class CostReply(UsageReply):
    """A sum of model calls. Those that were lost in a crash count with their tokens and name no model."""

    agent: NotRequired[str]
    provider: NotRequired[str]
    model: NotRequired[str]
    day: NotRequired[str]
    principal: NotRequired[str]
    calls: int
    estimated_calls: int


class CostsReply(TypedDict):
    """What was spent in a namespace: a sum for each group, the dearest first, and all of it."""

    namespace: str
    by: list[Group]
    costs: list[CostReply]
    total: CostReply


class CostQuery(BaseModel):
    """Which calls are summed, and how."""

    model_config = ConfigDict(extra="forbid")

    by: list[Group] = Field(default=["agent"], description="May be given more than once.")
    agent: str = ""
    principal: str = Field(default="", description="Name of an API key.")
    since: datetime | None = Field(default=None, alias="from", description="Begun at or after (ISO 8601).")
    until: datetime | None = Field(default=None, description="Begun before (ISO 8601).")


@router.get("", summary="Sum what model calls cost", responses=errors(400, 422, 503))
async def sum_costs(caller: Viewer, gateway: TheGateway, asked: Annotated[CostQuery, Query()]) -> CostsReply:
    """Of the namespace: each call that was charged, also where its candidate broke off or its run failed."""
    by = list(dict.fromkeys(asked.by))
    request = SumCostsRequest(
        namespace=caller.namespace,
        agent=asked.agent,
        principal=asked.principal,
        from_unix_nano=unix_nano(asked.since),
        until_unix_nano=unix_nano(asked.until),
        group_by=[_GROUPS[group] for group in by],
    )
    found = await gateway.services.history.SumCosts(request)
    return CostsReply(
        namespace=caller.namespace,
        by=by,
        costs=[_cost(each, by) for each in found.sums],
        total=_cost(found.total, []),
    )


def _cost(found: CostSum, by: list[Group]) -> CostReply:
    reply = CostReply(
        **usage_reply(found.usage, found.cost_nanos), calls=found.calls, estimated_calls=found.estimated_calls
    )
    for group in by:
        reply[group] = getattr(found, group)
    return reply
