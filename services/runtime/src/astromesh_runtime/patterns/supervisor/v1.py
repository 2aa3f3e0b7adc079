"""Supervisor, version 1. A version never changes once a history was stored under it; a better one is a new file."""

from __future__ import annotations

from typing import Final

import orjson

from astromesh.v1.values_pb2 import ROLE_USER
from astromesh_runtime.effects import Answer, IterationsExhausted, Pattern, RunContext
from astromesh_runtime.patterns.branches import answered, instructed, said

_SUPERVISE: Final = (
    "You supervise workers, who are the tools {workers}. They see nothing of this conversation: tell each all that it "
    "needs. Hand the work to whoever fits it best, several at once where the parts do not need each other; look over "
    "what they bring, and ask again, telling what is missing, where it is not good enough. Do not do their work."
)
_REVIEW: Final = (
    "Look over your answer: does it do all that was asked, and does it rest on what the workers brought? If so, answer "
    "with it once more, whole and unchanged, without telling of this check. If not, ask workers again."
)


def supervisor(run: RunContext) -> Pattern[Answer]:
    """Lets the model hand work to workers until it answers, and look its answer over. Raises IterationsExhausted."""
    reviews = orjson.loads(run.options_json)["max_reviews"]
    instruction = _SUPERVISE.format(workers=", ".join(run.agents))
    asked = instructed(run.transcript, instruction)
    work, delegated = run.branch(asked, answers=True), False
    for _ in range(run.max_iterations + reviews):
        work.is_heard = run.is_heard and not (delegated and reviews)
        reply = yield from work.model(work.transcript)
        if reply.tool_calls:
            yield from work.tools(reply.tool_calls)
            delegated = True
        elif delegated and reviews:
            reviews -= 1
            work.transcript = work.transcript.plus(said(ROLE_USER, _REVIEW))
        else:
            return answered(run, reply.text)
    raise IterationsExhausted(run.max_iterations)
