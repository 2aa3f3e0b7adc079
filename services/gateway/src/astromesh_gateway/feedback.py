"""What is said of runs that have ended: an event of the run's session, and shown with the run."""

from __future__ import annotations

from astromesh.v1.runs_pb2 import Feedback, Run
from astromesh.v1.signal_pb2 import FeedbackSignal
from astromesh_core.bus.log import EventLog
from astromesh_core.bus.subjects import session_aggregate
from astromesh_core.errors import Conflict, InvalidInput
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_core.events.sessions import feedback_of
from astromesh_core.rpc.identity import Caller
from astromesh_gateway.gateway import Gateway
from astromesh_gateway.session_signals import session_signal, written
from astromesh_gateway.stored_runs import StoredRuns

MAX_COMMENT_CHARACTERS = 4_000


async def reviewed(gateway: Gateway, caller: Caller, run_id: str) -> Run:
    """The run as it stands, with what was said of it. Raises like `StoredRuns.run`."""
    run = await StoredRuns(gateway, caller).run(run_id)
    if run.status in TERMINAL:
        run.feedback.extend(await _said(gateway.bus.log, run))
    return run


async def give_feedback(gateway: Gateway, caller: Caller, run_id: str, rating: int, comment: str) -> Run:
    """Stores what the caller says of a run; answers the run with it.

    Raises NotFound, InvalidInput, Conflict where the run has not ended, TimedOut where its session is busy for long.
    """
    if rating not in (-1, 0, 1):
        raise InvalidInput(f"rating is {rating}: it must be -1, 0 or 1")
    if len(comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidInput(f"comment may have {MAX_COMMENT_CHARACTERS:,} characters")
    run = await StoredRuns(gateway, caller).run(run_id)
    if run.status not in TERMINAL:
        raise Conflict(f"run {run_id} ({STATUS_NAMES[run.status]}) has not ended: there is nothing to rate yet")
    signal = session_signal(caller, run.session_key)
    signal.feedback.CopyFrom(FeedbackSignal(agent=run.agent, run_id=run.run_id, rating=rating))
    if comment:
        signal.feedback.comment.CopyFrom(text_content(comment))
    await written(gateway.bus, caller.namespace, signal)
    run.feedback.extend(await _said(gateway.bus.log, run))
    return run


async def _said(log: EventLog, run: Run) -> list[Feedback]:
    session = await log.read(session_aggregate(run.namespace, run.session_key))
    return feedback_of((event.envelope for event in session.events), run.run_id)
