"""From conditions to the record in KV `status`, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import orjson

from astromesh.v1.control_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    CONDITION_STATUS_UNKNOWN,
    ConditionStatus,
    ResourceStatus,
)
from astromesh.v1.control_pb2 import Condition as ConditionRecord
from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.conditions import (
    INVALID,
    READY,
    SERVICE_DISABLED,
    TOOLS_CONNECTED,
    Condition,
    Status,
    derive_ready,
    merge,
    not_supported,
)
from astromesh_core.resources.features import Unsupported
from astromesh_core.resources.problems import Problem
from astromesh_operator.observing import Observed

_TO_RECORD: Final[dict[Status, ConditionStatus.ValueType]] = {
    "True": CONDITION_STATUS_TRUE,
    "False": CONDITION_STATUS_FALSE,
    "Unknown": CONDITION_STATUS_UNKNOWN,
}
_FROM_RECORD: Final[dict[ConditionStatus.ValueType, Status]] = {value: key for key, value in _TO_RECORD.items()}


def judged(kind: str, gaps: Sequence[Unsupported], observed: Observed, now: datetime) -> list[Condition]:
    """Every condition of a resource, Ready last."""
    if gaps:
        return [not_supported((str(gap) for gap in gaps), now)]
    return [*observed.conditions, derive_ready(kind, observed.conditions, now)]


def never_good(problems: Sequence[Problem], now: datetime) -> list[Condition]:
    """The condition of a resource of which no version was ever good."""
    return [Condition(READY, "False", INVALID, "; ".join(map(str, problems)), now)]


def unreadable(now: datetime) -> Condition:
    """The condition of a stored resource that this release cannot read."""
    return Condition(READY, "False", "Unreadable", "this release cannot read it; store it again", now)


def status_of(
    ref: ResourceRef,
    generation: int,
    conditions: Iterable[Condition],
    previous: ResourceStatus | None,
    now: datetime,
) -> ResourceStatus:
    """The record, its conditions in their order; one whose status has not changed keeps the time of its transition."""
    before = [] if previous is None else [read_condition(condition) for condition in previous.conditions]
    fresh = list(conditions)
    by_type = {condition.type: condition for condition in merge(before, fresh)}
    merged = [by_type[name] for name in dict.fromkeys(condition.type for condition in fresh)]
    return ResourceStatus(
        ref=ref,
        observed_generation=generation,
        ready=any(condition.type == READY and condition.status == "True" for condition in merged),
        conditions=[_written(condition, now) for condition in merged],
    )


def figures_json(figures: Mapping[str, int | float | str]) -> str:
    """Figures as they are stored; "" where there are none."""
    return orjson.dumps(dict(figures)).decode() if figures else ""


def unsettled(status: ResourceStatus) -> bool:
    """Whether somebody has yet to answer about the resource, or might after all."""
    return any(
        condition.reason == SERVICE_DISABLED
        # A server that is looked for again: it is told soon when it is back.
        or (condition.type == TOOLS_CONNECTED and condition.status == CONDITION_STATUS_FALSE)
        or (condition.status == CONDITION_STATUS_UNKNOWN and condition.reason != "Unreachable")
        for condition in status.conditions
        if condition.type != READY
    )


def _written(condition: Condition, now: datetime) -> ConditionRecord:
    return ConditionRecord(
        type=condition.type,
        status=_TO_RECORD[condition.status],
        reason=condition.reason,
        message=condition.message,
        last_transition_unix_nano=round((condition.last_transition_time or now).timestamp() * 1_000_000) * 1_000,
    )


def read_condition(record: ConditionRecord) -> Condition:
    """Reads a condition from its record; who tells one need not know since when it holds."""
    since = record.last_transition_unix_nano
    when = datetime.fromtimestamp(since / 1_000_000_000, UTC) if since else None
    return Condition(record.type, _FROM_RECORD.get(record.status, "Unknown"), record.reason, record.message, when)
