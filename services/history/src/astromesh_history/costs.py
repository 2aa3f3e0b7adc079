"""What model calls cost: the rows of an event's charges, and sums of them. Queries run on the database's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.history_pb2 import (
    COST_GROUP_AGENT,
    COST_GROUP_DAY,
    COST_GROUP_MODEL,
    COST_GROUP_PRINCIPAL,
    COST_GROUP_PROVIDER,
    CostGroup,
    CostSum,
    SumCostsRequest,
    SumCostsResponse,
)
from astromesh.v1.runs_pb2 import Run
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import InvalidInput
from astromesh_core.events.charges import charges_of
from astromesh_core.events.runs import add_usage
from astromesh_history.writing import ChargeRow

MOST_SUMS = 10_000
"""Groups that one answer holds at most."""

_COLUMNS: dict[CostGroup.ValueType, tuple[str, str]] = {
    COST_GROUP_AGENT: ("agent", "agent"),
    COST_GROUP_MODEL: ("model", "model"),
    COST_GROUP_PROVIDER: ("provider", "provider"),
    COST_GROUP_DAY: ("day", "date(time / 1000000000, 'unixepoch')"),
    COST_GROUP_PRINCIPAL: ("principal", "principal"),
}
"""Of each group the field of a sum, and its value in SQL."""

_SUMMED = ", ".join(
    ["count(*)"]
    + [
        f"coalesce(sum({column}), 0)"
        for column in ("estimated", "input", "output", "cached", "cache_written", "reasoning", "cost")
    ]
)


def charge_rows(number: int, namespace: str, run: Run, envelope: Envelope) -> Iterator[ChargeRow]:
    """The rows of what an event of this run bills; `number` and `namespace` are the run's aggregate."""
    for order, (path, charge, time) in enumerate(charges_of(envelope)):
        usage = charge.usage
        yield (
            namespace,
            time,
            number,
            envelope.index,
            order,
            path,
            run.agent,
            run.principal,
            charge.provider,
            charge.model,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_input_tokens,
            usage.cache_written_tokens,
            usage.reasoning_tokens,
            int(usage.estimated),
            charge.cost_nanos,
        )


def columns_of(groups: Sequence[CostGroup.ValueType]) -> list[tuple[str, str]]:
    """The columns to group by, each once. Raises InvalidInput for a group that is none."""
    try:
        return list(dict.fromkeys(_COLUMNS[group] for group in groups))
    except KeyError:
        raise InvalidInput("group_by names a group that is none") from None


def sums(
    connection: sqlite3.Connection, request: SumCostsRequest, columns: Sequence[tuple[str, str]]
) -> SumCostsResponse:
    """The sums of the charges that match, the dearest first, and their total. Raises InvalidInput for too many."""
    clauses, values = _conditions(request)
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    by = ", ".join(column for _, column in columns)
    groups = f" GROUP BY {by} ORDER BY sum(cost) DESC, count(*) DESC, {by} LIMIT {MOST_SUMS + 1}" if by else ""
    query = f"SELECT {by}{', ' if by else ''}{_SUMMED} FROM charges{where}{groups}"
    rows = connection.execute(query, values).fetchall()
    if len(rows) > MOST_SUMS:
        raise InvalidInput(f"these are more than {MOST_SUMS} sums: ask for less time, or group by less")
    fields = [field for field, _ in columns]
    found = [_sum(row[: len(fields)], fields, row[len(fields) :]) for row in rows]
    response = SumCostsResponse(sums=found if columns else (), total=CostSum(usage=Usage()))
    for each in found:
        _add(response.total, each)
    return response


def _conditions(request: SumCostsRequest) -> tuple[list[str], list[str | int]]:
    clauses, values = list[str](), list[str | int]()
    for clause, value in (
        ("namespace = ?", request.namespace),
        ("agent = ?", request.agent),
        ("principal = ?", request.principal),
        ("time >= ?", request.from_unix_nano),
        ("time < ?", request.until_unix_nano),
    ):
        if value:
            clauses.append(clause)
            values.append(value)
    return clauses, values


def _sum(texts: Sequence[str], fields: Sequence[str], numbers: Sequence[int]) -> CostSum:
    calls, estimated, asked, answered, cached, cache_written, reasoning, cost = numbers
    usage = Usage(
        input_tokens=asked,
        output_tokens=answered,
        cached_input_tokens=cached,
        cache_written_tokens=cache_written,
        reasoning_tokens=reasoning,
        estimated=estimated > 0,
    )
    found = CostSum(calls=calls, estimated_calls=estimated, usage=usage, cost_nanos=cost)
    for field, text in zip(fields, texts, strict=True):
        setattr(found, field, text)
    return found


def _add(total: CostSum, part: CostSum) -> None:
    total.calls += part.calls
    total.estimated_calls += part.estimated_calls
    total.cost_nanos += part.cost_nanos
    add_usage(total.usage, part.usage)
