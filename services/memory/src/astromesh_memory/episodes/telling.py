"""What happened in a run, in short. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.episodes_pb2 import Episode
from astromesh.v1.runs_pb2 import (
    RUN_STATUS_COMPLETED,
    STEP_KIND_TOOL,
    STEP_STATUS_FAILED,
    STEP_STATUS_UNKNOWN,
    Feedback,
    Run,
)
from astromesh.v1.values_pb2 import Content
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_core.events.runs import fold

GOAL_CHARACTERS: Final = 2_000
OUTCOME_CHARACTERS: Final = 600
_WRONG: Final = frozenset((STEP_STATUS_FAILED, STEP_STATUS_UNKNOWN))


def episode_of(events: Sequence[Envelope], feedback: Sequence[Feedback]) -> Episode:
    """What is remembered of a run that has ended: `events` from index 0, contents fetched.

    Question and answer stand as the guardrails left them. Raises NotFound where the question was erased.
    """
    run = fold(events)
    episode = Episode(
        run_id=run.run_id,
        goal=_beginning(_goal(events, run), GOAL_CHARACTERS),
        status=run.status,
        outcome=_beginning(_outcome(run), OUTCOME_CHARACTERS),
        cost_nanos=run.cost_nanos,
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        duration_nano=max(0, run.ended_unix_nano - (run.started_unix_nano or run.requested_unix_nano)),
        ended_unix_nano=run.ended_unix_nano,
        feedback=feedback,
    )
    _add_tools(episode, run)
    return episode


def _goal(events: Sequence[Envelope], run: Run) -> str:
    checked = next((it.run.input_checked for it in events if it.run.HasField("input_checked")), None)
    return plain(checked.text if checked is not None else run.query)


def _outcome(run: Run) -> str:
    if run.status == RUN_STATUS_COMPLETED:
        return _readable(run.answer)
    return _readable(run.failure.message) if run.HasField("failure") else ""


def _readable(content: Content) -> str:
    try:
        return plain(content)
    except NotFound:
        return ""  # erased: the rest of what happened is nobody's


def _beginning(text: str, characters: int) -> Content:
    return text_content(text if len(text) <= characters else f"{text[: characters - 1]}…")


def _add_tools(episode: Episode, run: Run) -> None:
    for step in run.steps:
        if step.kind != STEP_KIND_TOOL:
            continue
        tool = next((it for it in episode.tools if it.name == step.name), None) or episode.tools.add(name=step.name)
        tool.calls += 1
        tool.failures += step.status in _WRONG
