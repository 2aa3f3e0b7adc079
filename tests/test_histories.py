"""Every stored history replays for ever: its chain holds, its events fold, its pattern asks for the same again."""

from __future__ import annotations

from pathlib import Path

import pytest

from astromesh_core.events.chain import open_commit, verify_chain
from astromesh_core.events.runs import STATUS_NAMES, fold
from astromesh_runtime.replay import replay

HISTORIES = sorted((Path(__file__).parent / "histories").rglob("*.binpb"))

ENDS = {
    "blocked": "failed",
    "cancelled": "cancelled",
    "exhausted": "failed",
    "failed-model": "failed",
    "timed-out": "failed",
}
"""How a scenario ends; `completed` where it is not named."""


def test_there_are_histories() -> None:
    assert len(HISTORIES) >= 12


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_stored_history_replays_identically(path: Path) -> None:
    events = open_commit(path.read_bytes())
    assert verify_chain([event.data for event in events]).ok
    verdict = replay([event.envelope for event in events])
    assert verdict.identical, verdict.difference
    assert STATUS_NAMES[fold(event.envelope for event in events).status] == ENDS.get(path.stem, "completed")
