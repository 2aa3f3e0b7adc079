"""From conditions to the record that everybody reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core.resources.conditions import READY, Condition
from astromesh_operator.statuses import status_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_ready_comes_last_though_another_condition_was_observed_after_it() -> None:
    ref, ready = ResourceRef(kind="Agent", name="desk"), Condition(READY, "True", "AllConditionsTrue")
    before = status_of(ref, 1, [ready], None, NOW)
    away = Condition("ToolsConnected", "False", "Unavailable")
    after = status_of(ref, 1, [away, ready], before, NOW + timedelta(seconds=1))
    assert [condition.type for condition in after.conditions] == ["ToolsConnected", READY]
    told = after.conditions[-1]
    assert told.last_transition_unix_nano == before.conditions[0].last_transition_unix_nano, "it was ready all along"
