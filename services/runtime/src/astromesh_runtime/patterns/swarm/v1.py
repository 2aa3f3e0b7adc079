"""Swarm, version 1. A version never changes once a history was stored under it; a better one is a new file."""

from __future__ import annotations

import orjson

from astromesh.v1.run_events_pb2 import Handoff
from astromesh.v1.values_pb2 import ROLE_SYSTEM
from astromesh_core.events.contents import plain
from astromesh_runtime.effects import Answer, Pattern, RunContext
from astromesh_runtime.patterns.branches import answered, last_question
from astromesh_runtime.transcript import Transcript


def swarm(run: RunContext) -> Pattern[Answer]:
    """Lets the first agent go on with the conversation, and after it whomever it is handed to, until one answers.

    Nobody hands it to the same agent a second time, and after the last hand-off that is allowed nobody does: whoever
    has it then answers.
    """
    options = orjson.loads(run.options_json)
    agents = [Handoff(agent=each["agent"], description=each["description"]) for each in options["agents"]]
    earlier = _earlier(run.transcript)
    query, at, passed = last_question(run.transcript), agents[0].agent, set[tuple[str, str]]()
    while True:
        others = [other for other in agents if other.agent != at and (at, other.agent) not in passed]
        finished = yield from run.hand_over(at, query, earlier, others if len(passed) < options["max_handoffs"] else [])
        if not finished.handed_to:
            return answered(run, plain(finished.answer))
        passed.add((at, finished.handed_to))
        reason = plain(finished.answer) or "no reason given"
        query = f"{last_question(run.transcript)}\n\n({at} handed this to you: {reason})"
        at = finished.handed_to


def _earlier(asked: Transcript) -> Transcript:
    """What was said before the question, without the prompt: whoever goes on has one of its own."""
    return Transcript.of(asked.digester, [each for each in asked.messages[:-1] if each.role != ROLE_SYSTEM])
