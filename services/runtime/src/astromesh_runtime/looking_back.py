"""What a model was sent at any moment of a stored run: the saga is run again up to there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from astromesh.v1.envelope_pb2 import Envelope
from astromesh_core.errors import NotSupported
from astromesh_runtime.effects import CallModel, Gather, SagaEffect
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.recorded import Recorded
from astromesh_runtime.replay import plan_of
from astromesh_runtime.saga import saga


def last_model_call(events: Iterable[Envelope]) -> CallModel | None:
    """The last model call that was begun by the last of these events (from index 0, contents fetched); None where none
    was.

    Raises NotSupported where this release does not hold the run's pattern, Diverged where its log is another pattern's.
    """
    recorded = Recorded.of(events)
    if recorded.started is None:
        return None
    started = recorded.started
    function = pattern_function(started.pattern, started.pattern_version)
    if function is None:
        raise NotSupported(f"this release does not hold {started.pattern} version {started.pattern_version}")
    generator = saga(plan_of(recorded.requested, started), function)
    last: CallModel | None = None
    try:
        effect = next(generator)
        while True:
            last = max((last, *_begun(effect, recorded)), key=lambda call: _begun_at(call, recorded))
            outcome = recorded.outcome(effect)
            if outcome is None:
                return last
            effect = generator.send(outcome)
    except StopIteration:
        return last
    finally:
        generator.close()


def _begun(effect: SagaEffect, recorded: Recorded) -> Iterator[CallModel]:
    """The model calls of an effect that were begun: of several at once there may be many."""
    if isinstance(effect, CallModel) and effect.path in recorded.begun:
        yield effect
    elif isinstance(effect, Gather):
        for each in effect.effects:
            yield from _begun(each, recorded)


def _begun_at(call: CallModel | None, recorded: Recorded) -> int:
    return recorded.marks[call.path].index if call is not None else -1
