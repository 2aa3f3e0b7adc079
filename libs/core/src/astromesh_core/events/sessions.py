"""What a session's own events say, apart from its runs."""

from __future__ import annotations

from collections.abc import Iterable

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.runs_pb2 import Feedback


def feedback_of(events: Iterable[Envelope], run_id: str) -> list[Feedback]:
    """What was said of a run, oldest first: of each caller the last word, for who rates again corrects itself."""
    said: dict[str, Feedback] = {}
    for envelope in events:
        event = envelope.session.feedback
        if envelope.session.HasField("feedback") and event.run_id == run_id:
            found = Feedback(rating=event.rating, principal=event.principal, time_unix_nano=envelope.time_unix_nano)
            if event.HasField("comment"):
                found.comment.CopyFrom(event.comment)
            said.pop(event.principal, None)
            said[event.principal] = found
    return list(said.values())
