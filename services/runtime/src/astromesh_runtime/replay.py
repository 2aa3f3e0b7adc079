"""Re-executes a stored run from its recorded outcomes and says whether the pattern asks for the same again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import RunEvent, RunRequested, RunStarted
from astromesh_core.events.contents import plain
from astromesh_runtime.effects import (
    CallModel,
    CallTools,
    CheckOutput,
    Gather,
    PatternFunction,
    Remember,
    RememberSummary,
    SagaEffect,
)
from astromesh_runtime.guarding import Guarded
from astromesh_runtime.patterns.catalogue import pattern_function
from astromesh_runtime.recorded import Diverged, Recorded, digester_of
from astromesh_runtime.saga import Completed, Ending, Plan, saga


@dataclass(frozen=True, slots=True)
class Verdict:
    """Identical, or the first difference."""

    events: int
    difference: Diverged | None = None

    @property
    def identical(self) -> bool:
        """True where the replay asked for the same effects and came to the same end."""
        return self.difference is None


def plan_of(requested: RunRequested, started: RunStarted) -> Plan:
    """The saga's plan of a stored run: from its own events alone."""
    return Plan(
        query=plain(requested.query),
        digester=digester_of(requested),
        pattern=f"{started.pattern} version {started.pattern_version}",
        max_iterations=started.max_iterations,
        tools_sha256=started.tools_sha256,
        checks_input=started.checks_input,
        checks_output=started.checks_output,
        remembers=started.remembers,
        remembers_tools=started.remembers_tools,
        given=tuple(requested.transcript),
        images=tuple(requested.images),
        output_schema_json=started.output_schema_json,
        agents={tool.name: tool.agent for tool in started.tools if tool.agent},
        handoffs=tuple(each.agent for each in requested.lineage.handoffs),
        options_json=started.pattern_options_json,
        guarded=Guarded(
            checks_arguments=started.checks_tool_arguments,
            checks_results=started.checks_tool_results,
            boundary=started.data_boundary,
            masks=started.masks,
            unmasked_tools=tuple(started.unmasked_tools),
        ),
    )


def replay(events: Iterable[Envelope], pattern: PatternFunction | None = None) -> Verdict:
    """Replays a run's events (from index 0, contents fetched) with its pattern, or with the one given.

    An open run, and one that was cancelled or timed out, is identical when all that it did is asked for again.
    """
    recorded = Recorded.of(events)
    if recorded.started is None:
        return Verdict(recorded.events)
    started = recorded.started
    function = pattern or pattern_function(started.pattern, started.pattern_version)
    if function is None:
        name = f"{started.pattern} version {started.pattern_version}"
        return Verdict(recorded.events, Diverged(1, "", name, "no such pattern in this release"))
    try:
        _replay(recorded, plan_of(recorded.requested, started), function)
    except Diverged as difference:
        return Verdict(recorded.events, difference)
    return Verdict(recorded.events)


def _replay(recorded: Recorded, plan: Plan, pattern: PatternFunction) -> None:
    visited, asked = set[str](), set[type[SagaEffect]]()
    generator = saga(plan, pattern)
    ending: Ending | None = None
    try:
        effect = next(generator)
        while True:
            _visit(effect, visited)
            asked.add(type(effect))
            outcome = recorded.outcome(effect)
            if outcome is None:
                break
            _same_content(recorded, plan, effect)
            effect = generator.send(outcome)
    except StopIteration as stop:
        ending = stop.value
    finally:
        generator.close()
    left = recorded.unvisited(visited)
    if left is not None:
        raise Diverged(left.index, left.path, f"{left.kind} effect", "nothing")
    if recorded.summary is not None and RememberSummary not in asked:
        raise Diverged(recorded.summary_index, "", "a summary for the memory", "nothing")
    if recorded.memory is not None and Remember not in asked:
        raise Diverged(recorded.indexes["memory_stored"], "", "a turn for the memory", "nothing")
    _same_end(recorded, ending)


def _visit(effect: SagaEffect, visited: set[str]) -> None:
    if isinstance(effect, CallModel):
        visited.add(effect.path)
    elif isinstance(effect, CallTools):
        visited.update(member.path for member in effect.calls)
    elif isinstance(effect, Gather):
        for each in effect.effects:
            _visit(each, visited)


def _same_content(recorded: Recorded, plan: Plan, effect: SagaEffect) -> None:
    """The frame's effects have no path: what they were given is compared instead."""
    if isinstance(effect, CheckOutput) and recorded.output_checked is not None:
        digest = recorded.output_checked.checked_digest
        if digest and digest != plan.digester.of_text(effect.text):
            raise Diverged(recorded.indexes["output_checked"], "", "another answer to be checked", "this answer")
    if isinstance(effect, RememberSummary) and recorded.summary is not None:
        told = recorded.summary.summary
        if (plain(told.text), told.through_run_id) != (effect.text, effect.through_run_id):
            raise Diverged(recorded.summary_index, "", "another summary for the memory", "this summary")
    if isinstance(effect, Remember) and recorded.memory is not None and tuple(recorded.memory.turn) != effect.turn:
        raise Diverged(recorded.indexes["memory_stored"], "", "another turn for the memory", "this turn")


def _same_end(recorded: Recorded, ending: Ending | None) -> None:
    index = recorded.events - 1
    kind = recorded.ended.WhichOneof("event") if recorded.ended is not None else None
    if recorded.ended is None or kind == "cancelled" or recorded.ended.failed.imposed or _is_undone(recorded):
        return
    replayed = _describe(ending)
    told = _recorded_end(recorded.ended)
    if told != replayed:
        raise Diverged(index, "", told, replayed)
    if isinstance(ending, Completed) and ending.sources != tuple(recorded.ended.completed.sources):
        raise Diverged(index, "", "other sources", "these sources")


def _recorded_end(event: RunEvent) -> str:
    if event.HasField("completed"):
        return _completed(plain(event.completed.answer), event.completed.handed_to)
    failure = event.compensated.cause if event.HasField("compensated") else event.failed.failure
    return f"failed: {failure.error_class}: {plain(failure.message)}"


def _is_undone(recorded: Recorded) -> bool:
    """Whether the run was undone for what the runtime imposed on it: a replay comes to no such end."""
    undoing = recorded.interventions.compensation
    return undoing is not None and undoing.imposed


def _completed(answer: str, handed_to: str) -> str:
    return f"handed to {handed_to}: {answer}" if handed_to else f"completed: {answer}"


def _describe(ending: Ending | None) -> str:
    if ending is None:
        return "no end"
    if isinstance(ending, Completed):
        return _completed(ending.answer, ending.handed_to)
    return f"failed: {ending.failure.error_class}: {plain(ending.failure.message)}"
