"""A run's events as a timeline: when each came, how long its step took, and what it says in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from rich.text import Text

from astromesh_cli.client.answers import CUT_OFF, print_footer, print_sources
from astromesh_cli.client.routes import print_routes
from astromesh_cli.client.streams import Event
from astromesh_cli.client.terminal import (
    BAD,
    GOOD,
    NAME,
    QUIET,
    TITLE,
    WARN,
    Cell,
    milliseconds,
    out,
    shortened,
    table,
)

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_gateway.replies import RunRecord, StepReply
    from astromesh_gateway.routes.runs import EventReply

_BAR_WIDTH = 24
_WORDS = 60
_STYLES = {
    "completed": GOOD,
    "failed": BAD,
    "tool_failed": BAD,
    "cancelled": QUIET,
    "compensated": WARN,
    "suspended": WARN,
    "approval_requested": WARN,
    "question_asked": WARN,
    "compensation_started": WARN,
    "step_compensation_failed": BAD,
    "tool_outcome_unknown": WARN,
    "timed_out": BAD,
    "model_replied": NAME,
    "tool_intended": NAME,
    "tool_succeeded": NAME,
    "child_started": NAME,
    "child_finished": NAME,
}

_RATINGS = {1: ("good", GOOD), 0: ("neutral", QUIET), -1: ("bad", BAD)}


def print_run(run: RunRecord, events: Sequence[EventReply]) -> None:
    """A whole run: question, timeline, why these models, answer, sources, cost."""
    head = Text.assemble(("run ", QUIET), run["run_id"], ("  agent ", QUIET), (run["agent"], NAME))
    head.append(f"  session {run['session_id']}  by {run['principal']}", QUIET)
    out().print(head)
    if "parent" in run:
        above = run["parent"]
        out().print(Text(f"started by run {above['run_id']} at its step {above['path']}", QUIET))
    if "forked_from" in run:
        source = run["forked_from"]
        out().print(Text(f"forked from run {source['run_id']} after its event {source['at']}", QUIET))
    out().print(Text.assemble(("\nQuestion\n", TITLE), run["query"]))
    out().print(Text("\nTimeline", TITLE))
    print_timeline(run, events)
    print_routes(events)
    if run["answer"] is not None:
        out().print(Text.assemble(("\nAnswer\n", TITLE), run["answer"]))
    if "failure" in run:
        failure = run["failure"]
        out().print(Text(f"\n{failure['error']}: {failure['message']}", BAD))
    print_sources(run["sources"], out())
    print_feedback(run)
    print_footer(run, out())


def print_feedback(run: RunRecord) -> None:
    """What was said of the run since; nothing where nobody did."""
    said = run.get("feedback", [])
    if said:
        out().print(Text("\nFeedback", TITLE))
    for one in said:
        word, style = _RATINGS[one["rating"]]
        line = Text.assemble("  ", (word, style), (f"  by {one['principal']}  {one['time']}", QUIET))
        out().print(line.append(f"  {one['comment']}" if one["comment"] else ""))


def print_timeline(run: RunRecord, events: Sequence[EventReply]) -> None:
    """One line an event: when it came after the first, a bar for the step it ends, and what it says."""
    steps = {step["path"]: step for step in run["steps"]}
    begun = _moment(events[0]["time"]) if events else 0.0
    whole = max((_moment(events[-1]["time"]) - begun) * 1_000, 0.001) if events else 1.0
    rows: list[list[Cell]] = []
    for event in events:
        at = (_moment(event["time"]) - begun) * 1_000
        took = _took(event)
        rows.append(
            [
                Text(f"{event['index']:>3}", QUIET),
                Text(f"+{milliseconds(at)}", QUIET),
                Text(event["type"].replace("_", " "), _STYLES.get(event["type"], "")),
                _bar(at, took, whole),
                milliseconds(took) if took else "",
                Text(_words(event, steps), QUIET),
            ]
        )
    table(["  #", "AT", "EVENT", "".ljust(_BAR_WIDTH), "TOOK", ""], rows)


def print_events(events: Sequence[EventReply]) -> None:
    """Every event on a line, with its time and who stored it."""
    rows: list[list[Cell]] = [
        [
            Text(f"{event['index']:>3}", QUIET),
            event["time"],
            Text(event["type"], _STYLES.get(event["type"], "")),
            Text(event["producer"], QUIET),
            Text(_words(event, {}), QUIET),
        ]
        for event in events
    ]
    table(["  #", "TIME", "EVENT", "BY", ""], rows)


def print_update(event: Event) -> None:
    """One event of a followed run."""
    name = event.text("event") or event.name
    said = event.text("name") or event.text("detail") or event.text("waiting_for")
    line = Text.assemble((f"{event.id:>4}  ", QUIET), (name.replace("_", " "), _STYLES.get(name, "")))
    line.append(f"  {shortened(said, _WORDS)}" if said else "", QUIET)
    out().print(line)


def _bar(at: float, took: float, whole: float) -> Text:
    """The share of the run that the event's step filled, ending where the event came."""
    if not took:
        return Text()
    end = min(_BAR_WIDTH, max(1, round(at / whole * _BAR_WIDTH)))
    length = min(end, max(1, round(took / whole * _BAR_WIDTH)))
    return Text(" " * (end - length) + "━" * length, NAME)


def _took(event: EventReply) -> float:
    """How long the work took that the event tells the end of, in milliseconds."""
    timing = _inner(event["event"], "timing")
    return float(str(timing.get("duration_nano", 0))) / 1e6


def _words(event: EventReply, steps: dict[str, StepReply]) -> str:
    """What the event says, in a few words."""
    body = event["event"]
    match event["type"]:
        case "requested":
            return shortened(_text(body, "query"), _WORDS)
        case "started" | "claimed":
            return _worker(body)
        case "input_checked" | "output_checked" | "tool_arguments_checked" | "tool_result_checked":
            return _verdicts(body)
        case "model_call_begun":
            return _asked(body)
        case "model_replied":
            return _reply(body)
        case "tool_intended" | "tool_succeeded" | "tool_failed" | "tool_outcome_unknown":
            return _tool(body, steps)
        case "child_started" | "child_finished":
            return _child(body)
        case "suspended" | "resumed":
            why = str(body.get("reason", "")).removeprefix("SUSPENSION_REASON_").lower()
            return shortened(f"{why} at step {body.get('path')} {_text(body, 'detail')}", _WORDS)
        case "failed" | "cancelled":
            return shortened(_text(_inner(body, "failure"), "message") or _text(body, "reason"), _WORDS)
        case _:
            return shortened(_intervention(event["type"], body, steps), _WORDS)


def _intervention(kind: str, body: dict[str, JsonValue], steps: dict[str, StepReply]) -> str:
    """What an event says of humans, or of undoing; nothing of every other one."""
    match kind:
        case "approval_requested" | "question_asked":
            return _text(body, "question") or _tool(body, steps)
        case "approval_decided" | "question_answered":
            return _decision(body)
        case "step_reconciled":
            return str(body.get("outcome", "")).removeprefix("RECONCILED_OUTCOME_").lower()
        case "step_compensation_begun" | "step_compensated" | "step_compensation_failed":
            return f"step {body.get('path')}: {_tool(body, steps)}"
        case "compensation_started" | "compensated":
            return _text(_inner(body, "cause"), "message")
        case _:
            return ""


def _decision(body: dict[str, JsonValue]) -> str:
    if body.get("expired"):
        return "nobody did in time"
    said = "approved" if body.get("approved") else "declined" if body.get("declined") else "denied"
    if "answer" in body and not body.get("declined"):
        said = "answered"
    edited = f" with {_text(body, 'edited_arguments')}" if "edited_arguments" in body else ""
    why = _text(body, "comment") or _text(body, "answer")
    return f"{said} by {body.get('principal', 'somebody')}{edited}" + (f": {why}" if why else "")


def _worker(body: dict[str, JsonValue]) -> str:
    if "pattern" in body:
        return f"pattern {body.get('pattern')} v{body.get('pattern_version')}, worker {body.get('worker')}"
    return f"by worker {body.get('worker')}, epoch {body.get('epoch')}"


def _tool(body: dict[str, JsonValue], steps: dict[str, StepReply]) -> str:
    call = _inner(body, "call")
    if call:
        return shortened(f"{call.get('name')}{_text(call, 'arguments')}", _WORDS)
    step = steps.get(str(body.get("path")))
    named = _inner(body, "result").get("name") or (step["name"] if step else f"step {body.get('path')}")
    said = _text(_inner(body, "failure"), "message") or _text(body, "reason")
    return shortened(f"{named} {said}{_of_result(_inner(body, 'result'))}", _WORDS)


def _child(body: dict[str, JsonValue]) -> str:
    """Which run it is, and whom it asks or what it answered."""
    said = _text(_inner(body, "failure"), "message") or _text(body, "answer") or _text(body, "query")
    words = [_text(body, "agent"), _text(body, "child_run_id")]
    return shortened(f"{' '.join(filter(None, words))}: {said}", _WORDS)


def _of_result(result: dict[str, JsonValue]) -> str:
    """How a model came to what it read of a tool's result, where that is not all or not new."""
    whole = _inner(result, "whole").get("size_bytes")
    return (f"cut: {whole} bytes are kept whole" if whole else "") + ("answered before" if result.get("cached") else "")


def _asked(body: dict[str, JsonValue]) -> str:
    """Which of the agent's models is asked, where it names roles, and why again, where it is not the first time."""
    role, reason = _text(body, "role"), _text(body, "reason")
    words = [role if role != "default" else "", f"again: {reason}" if reason else ""]
    return shortened(", ".join(filter(None, words)), _WORDS)


def _reply(body: dict[str, JsonValue]) -> str:
    charge = _inner(body, "charge")
    failure = _inner(body, "failure")
    if failure:
        return shortened(f"{failure.get('error_class')}: {_text(failure, 'message')}", _WORDS)
    usage = _inner(charge, "usage")
    calls = _inner(body, "message").get("tool_calls")
    asks = ""
    if isinstance(calls, list):
        names = [str(call.get("name")) for call in calls if isinstance(call, dict)]
        asks = f", asks for {', '.join(names)}"
    why = CUT_OFF.get(_text(body, "finish_reason"))
    cut = f", {why}" if why else ""
    model = f"{charge.get('provider')} {charge.get('model')}" if charge else ""
    same = charge.get("provider") == charge.get("model")
    return f"{charge.get('model') if same else model}, {usage.get('output_tokens', 0)} tokens{asks}{cut}"


def _verdicts(body: dict[str, JsonValue]) -> str:
    verdicts = body.get("verdicts")
    return ", ".join(
        f"{verdict.get('rule')}: {str(verdict.get('action', '')).removeprefix('VERDICT_ACTION_').lower()}"
        f"{' (dry run)' if verdict.get('dry_run') else ''}"
        for verdict in (verdicts if isinstance(verdicts, list) else [])
        if isinstance(verdict, dict)
    )


def _inner(body: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _text(body: dict[str, JsonValue], name: str) -> str:
    """A content's text; a plain member's too."""
    value = body.get(name)
    if isinstance(value, dict):
        return str(cast("dict[str, object]", value).get("text", ""))
    return str(value) if value is not None else ""


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
