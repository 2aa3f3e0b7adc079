"""ReAct, version 1. A version never changes once a history was stored under it; a better one is a new file."""

from __future__ import annotations

from astromesh_runtime.effects import Answer, IterationsExhausted, Pattern, RunContext


def react(run: RunContext) -> Pattern[Answer]:
    """Calls the model, then the tools it asks for, until it asks for none. Raises IterationsExhausted."""
    for _ in range(run.max_iterations):
        reply = yield from run.model(run.transcript)
        if not reply.tool_calls:
            return Answer(reply.text)
        yield from run.tools(reply.tool_calls)
    raise IterationsExhausted(run.max_iterations)
