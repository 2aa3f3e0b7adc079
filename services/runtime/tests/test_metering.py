"""What is counted of a run is what its log holds."""

from __future__ import annotations

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1 import values_pb2 as values
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Verdict
from astromesh_core.bus.positions import Position
from astromesh_core.events.chain import StoredEvent
from astromesh_core.telemetry.metrics import Metrics
from astromesh_runtime.metering import RunMeter
from astromesh_runtime.recorded import Recorded


def test_a_tool_that_only_a_model_named_is_no_label() -> None:
    metrics = Metrics()
    meter = RunMeter(metrics, "agent", 0, Recorded())
    events = [ev.RunEvent(started=ev.RunStarted(tools=[values.ToolSpec(name="stock")]))]
    for path, name in (("1", "stock"), ("2", "what Ann told me")):
        intent = ev.ToolIntended(path=path, call=values.ToolCall(name=name))
        events += [ev.RunEvent(tool_intended=intent), ev.RunEvent(tool_failed=ev.ToolFailed(path=path))]
    meter([StoredEvent(Envelope(run=event), b"") for event in events], Position.START)
    for tool in ("stock", "other"):
        labels = {"tool": tool, "outcome": "failed"}
        assert metrics.registry.get_sample_value("astromesh_tool_calls_total", labels) == 1
    assert b"Ann" not in metrics.exposition()[0]


def test_an_agent_that_is_asked_counts_as_its_tool() -> None:
    metrics = Metrics()
    meter = RunMeter(metrics, "agent", 0, Recorded())
    call = values.ToolCall(name="ask")
    events = [
        ev.RunEvent(started=ev.RunStarted(tools=[values.ToolSpec(name="ask", type="agent", agent="b")])),
        ev.RunEvent(child_started=ev.ChildStarted(path="2.1", call=call)),
        ev.RunEvent(child_finished=ev.ChildFinished(path="2.1", answer=values.Content(text="so"))),
        ev.RunEvent(child_finished=ev.ChildFinished(path="2.2", call=call, failure=values.Failure())),
        ev.RunEvent(child_started=ev.ChildStarted(path="3.1", agent="b")),
        ev.RunEvent(child_finished=ev.ChildFinished(path="3.1", answer=values.Content(text="so"))),
    ]
    meter([StoredEvent(Envelope(run=event), b"") for event in events], Position.START)
    for outcome in ("ok", "failed"):
        labels = {"tool": "ask", "outcome": outcome}
        assert metrics.registry.get_sample_value("astromesh_tool_calls_total", labels) == 1


def test_verdicts_of_guardrails_are_counted_by_stage_rule_and_action() -> None:
    metrics = Metrics()
    meter = RunMeter(metrics, "agent", 0, Recorded())
    verdicts = [
        Verdict(rule="max_length", action=values.VERDICT_ACTION_ALLOW),
        Verdict(rule="pii_detection", action=values.VERDICT_ACTION_REDACT),
    ]
    tried = Verdict(rule="content_filter", action=values.VERDICT_ACTION_BLOCK, dry_run=True)
    passage = ev.PassageChecked(verdicts=verdicts[1:])
    events = [
        ev.RunEvent(input_checked=ev.InputChecked(verdicts=verdicts)),
        ev.RunEvent(output_checked=ev.OutputChecked(verdicts=verdicts[1:])),
        ev.RunEvent(tool_arguments_checked=ev.ToolArgumentsChecked(verdicts=verdicts[1:])),
        ev.RunEvent(tool_result_checked=ev.ToolResultChecked(verdicts=[tried], checked_passages=[passage])),
        ev.RunEvent(context_assembled=ev.ContextAssembled(checked_passages=[passage])),
    ]
    meter([StoredEvent(Envelope(run=event), b"") for event in events], Position.START)

    def counted(stage: str, rule: str, action: str) -> float | None:
        labels = {"stage": stage, "rule": rule, "action": action}
        return metrics.registry.get_sample_value("astromesh_guard_verdicts_total", labels)

    assert counted("input", "max_length", "allow") == 1
    assert counted("input", "pii_detection", "redact") == 1
    assert counted("output", "pii_detection", "redact") == 1
    assert counted("output", "max_length", "allow") is None
    assert counted("tool_arguments", "pii_detection", "redact") == 1
    assert counted("tool_results", "pii_detection", "redact") == 2
    assert counted("tool_results", "content_filter", "would_block") == 1
    assert counted("tool_results", "content_filter", "block") is None
