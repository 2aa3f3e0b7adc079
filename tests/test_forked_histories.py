"""Every stored history can be forked at every event: what was answered by then is shared, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import Fork, RunEvent, RunRequested, RunStarted
from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_WRITE
from astromesh_core.events.billing import Bill
from astromesh_core.events.chain import open_commit
from astromesh_core.events.contents import plain
from astromesh_runtime.effects import CallModel, CallTools, Remember, RememberSummary, SagaEffect
from astromesh_runtime.forking import shared_past
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.replay import plan_of
from astromesh_runtime.saga import Completed, Failed, saga

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*/*.binpb"))
CUT = frozenset({"cancelled", "timed_out", "compensated"})
"""A run that ends so may have been in the middle of a step."""


def beginning(source: Sequence[Envelope], at: int) -> tuple[RunRequested, RunStarted] | None:
    started = next((event.run.started for event in source if event.run.HasField("started")), None)
    if started is None:
        return None
    requested = RunRequested()
    requested.CopyFrom(source[0].run.requested)
    requested.fork.CopyFrom(Fork(run_id=source[0].aggregate_id, index=at, agent=started.agent))
    return requested, started


def shared(source: Sequence[Envelope], at: int) -> tuple[list[RunEvent], list[Envelope]]:
    """The past, and the fork's log with it."""
    begun = beginning(source, at)
    assert begun is not None
    past = shared_past(source[: at + 1], *begun, lambda context: plain(context.system_prompt))
    bodies = [RunEvent(requested=begun[0]), RunEvent(started=begun[1]), *past]
    return past, [Envelope(index=index, run=body) for index, body in enumerate(bodies)]


def performed_next(log: Sequence[Envelope]) -> SagaEffect | Completed | Failed:
    """What a worker performs first behind this past; or the end that it leads to. Raises Diverged."""
    recorded = Recorded.of(log)
    assert recorded.started is not None
    function = pattern_function(recorded.started.pattern, recorded.started.pattern_version)
    assert function is not None
    generator = saga(plan_of(recorded.requested, recorded.started), function)
    try:
        effect = next(generator)
        while (outcome := recorded.outcome(effect)) is not None:
            effect = generator.send(outcome)
    except StopIteration as end:
        return end.value
    return effect


def place(event: RunEvent) -> tuple[str, str]:
    kind = event.WhichOneof("event") or ""
    return kind, getattr(getattr(event, kind), "path", "")


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_history_is_forked_at_every_event(path: Path) -> None:
    source = [event.envelope for event in open_commit(path.read_bytes())]
    if beginning(source, 0) is None:
        return
    for at in range(len(source)):
        past, log = shared(source, at)
        assert {place(event) for event in past} <= {place(event.run) for event in source[: at + 1]}, at
        performed_next(log)
        # What the source did is neither billed again nor undone.
        assert not any(event.tool_intended.effect == TOOL_EFFECT_KIND_WRITE for event in past)
        assert Bill.of(past).cost_nanos == 0
    following = performed_next(shared(source, len(source) - 1)[1])
    if isinstance(following, CallModel | CallTools):
        assert CUT & {event.run.WhichOneof("event") for event in source}, following.path
    else:
        assert isinstance(following, Completed | Failed | Remember | RememberSummary)
