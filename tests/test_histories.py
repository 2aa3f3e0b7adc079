"""Every stored history replays for ever: its chain holds, its events fold, its pattern asks for the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astromesh.v1.run_events_pb2 import RunEvent
from astromesh.v1.values_pb2 import Usage
from astromesh_core.events.billing import Bill
from astromesh_core.events.chain import open_commit, verify_chain
from astromesh_core.events.runs import STATUS_NAMES, fold
from astromesh_runtime.looking_back import last_model_call
from astromesh_runtime.replay import replay

HISTORIES = sorted((Path(__file__).parent / "histories").rglob("*.binpb"))

ENDS = {
    "approval-cancelled": "cancelled",
    "cancelled-compensated": "compensated",
    "compensated": "compensated",
    "compensation-left": "compensated",
    "blocked": "failed",
    "broken-off-billed": "failed",
    "cancelled": "cancelled",
    "cancelled-billed": "cancelled",
    "children-cancelled": "cancelled",
    "cost-limited": "failed",
    "exhausted": "failed",
    "failed-model": "failed",
    "mismatched": "failed",
    "plan-failed": "failed",
    "quorum-missed": "failed",
    "timed-out": "failed",
    "timed-out-billed": "failed",
}
"""How a scenario ends; `completed` where it is not named."""


def test_there_are_histories() -> None:
    assert len(HISTORIES) >= 12


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_a_model_was_sent_is_made_again_at_every_event(path: Path) -> None:
    events = [event.envelope for event in open_commit(path.read_bytes())]
    latest = ""
    for number, event in enumerate(events, 1):
        if event.run.HasField("model_call_begun"):
            latest = event.run.model_call_begun.path
        call = last_model_call(events[:number])
        assert (call.path if call else "") == latest
        if call is not None and event.run.HasField("model_call_begun"):
            assert call.sha256 == event.run.model_call_begun.effect_sha256
            assert call.transcript.messages


LOST = {
    "broken-off-billed": "model_replied",
    "cancelled-billed": "cancelled",
    "fallback-billed": "model_call_begun",
    "timed-out-billed": "failed",
}
"""The event that bills what a call cost which gave no completion."""


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_stored_history_replays_identically(path: Path) -> None:
    events = open_commit(path.read_bytes())
    assert verify_chain([event.data for event in events]).ok
    verdict = replay([event.envelope for event in events])
    assert verdict.identical, verdict.difference
    assert STATUS_NAMES[fold(event.envelope for event in events).status] == ENDS.get(path.stem, "completed")


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_events_of_a_stored_history_add_up_to_the_bill_of_its_end(path: Path) -> None:
    events = [event.envelope for event in open_commit(path.read_bytes())]
    end = events[-1].run
    usage: Usage = getattr(end, end.WhichOneof("event") or "").usage
    assert Bill.of(event.run for event in events).usage == usage == fold(events).usage
    lost = [kind for event in events if (kind := event.run.WhichOneof("event")) and _bills_lost(event.run, kind)]
    assert lost == ([LOST[path.stem]] if path.stem in LOST else [])


def _bills_lost(event: RunEvent, kind: str) -> bool:
    body: Any = getattr(event, kind)
    return "lost_usage" in body.DESCRIPTOR.fields_by_name and body.HasField("lost_usage")
