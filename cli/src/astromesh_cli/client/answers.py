"""An answer as it comes: tokens to stdout, steps to stderr, so that a pipe gets the answer alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import orjson
from rich.console import Console
from rich.text import Text

from astromesh_cli.client.streams import Event
from astromesh_cli.client.terminal import (
    BAD,
    GOOD,
    NAME,
    QUIET,
    TITLE,
    WARN,
    err,
    milliseconds,
    shortened,
    status_text,
)

if TYPE_CHECKING:
    from astromesh_gateway.replies import RunReply, SourceReply

_ARGUMENT_WIDTH = 72

CUT_OFF = {"length": "cut off at max_tokens", "content_filter": "cut off by the vendor's content filter"}
"""What befell a reply that is not whole, by its finish reason."""

_AWAITED = {
    "question": "an answer",
    "unknown": "word of what became of a write",
    "compensation": "word of a step that could not be undone",
    "version": "a release that can go on with it",
}
"""What a run waits for, where that takes more than its one word."""


class AnswerPrinter:
    """Draws the events of one run, its steps on the console `says` (stderr). `text` is what of the answer is drawn."""

    def __init__(self, *, streams: bool = True, says: Console | None = None) -> None:
        self._console = says or err()
        self.text = ""
        self.run_id = ""
        self._streams = streams
        self._open_line = False
        self._waits = False

    def take(self, event: Event) -> None:
        """Draws what an event means to a reader; most stored events mean nothing to them."""
        self.run_id = event.text("run_id") or self.run_id
        child = event.data.get("child")
        if isinstance(child, dict):
            self._of_child(event, str(child.get("agent", "")))
            return
        match event.name:
            case "token":
                self._token(event.text("text"))
            case "reasoning":
                pass  # what a model thinks is no part of its answer; it is in the run's step
            case "restart":
                self._restart(event.text("reason"))
            case "tool_call":
                self._say(_called(event))
            case "tool_result":
                self._say(_outcome(event))
            case "step":
                self._step(event)
            case _:
                self._end_line()

    def close(self) -> None:
        """Ends an open line."""
        self._end_line()

    def _token(self, text: str) -> None:
        if self._streams:
            self.text += text
            sys.stdout.write(text)
            sys.stdout.flush()
            self._open_line = not text.endswith("\n")

    def _restart(self, reason: str) -> None:
        if self.text:
            because = f" ({reason})" if reason else ""
            self._say(Text(f"↻ a new attempt begins{because}; what stands above is void", WARN))
        self.text = ""

    def _step(self, event: Event) -> None:
        kind = event.text("event")
        if kind == "model_call_begun":
            self.text = ""
        elif kind in ("approval_requested", "question_asked"):
            self._say(_asked(event))
        elif kind == "suspended":
            self._waits = True
            if event.text("waiting_for") != "child":
                self._say(Text(f"⏸ waits for {_awaited(event.text('waiting_for'))}", WARN))
        elif kind == "resumed":
            self._waits = False
        elif kind == "claimed" and not self._waits:
            self._say(Text("↷ another worker took the run over and goes on", WARN))

    def _of_child(self, event: Event, agent: str) -> None:
        """What an agent does that was asked: its calls and their results, set in, with its name."""
        line = _called(event) if event.name == "tool_call" else _outcome(event)
        if event.name in ("tool_call", "tool_result"):
            self._say(Text(f"  {agent} ", QUIET) + line)

    def _say(self, line: Text) -> None:
        self._end_line()
        self._console.print(line)

    def _end_line(self) -> None:
        if self._open_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
            self._open_line = False


def print_sources(sources: Sequence[SourceReply], console: Console | None = None) -> None:
    """What the answer rests on, one line a passage; on stderr unless told otherwise."""
    target = console or err()
    if not sources:
        return
    target.print(Text("\nSources", TITLE))
    for source in sources:
        target.print(Text.assemble("  ", (source["source"], NAME), (_place(source), QUIET)))


def print_footer(run: RunReply, console: Console | None = None) -> None:
    """The run in one line: its id, status, time, tokens and what served it; on stderr unless told otherwise."""
    line = Text.assemble("\n", ("run ", QUIET), run["run_id"], "  ", status_text(run["status"]))
    line.append(f"  {summary(run)}", QUIET)
    (console or err()).print(line)
    tell_what_it_lacks(run, console)
    if run.get("waiting_for"):
        tell_how_to_go_on(run)


def tell_what_it_lacks(run: RunReply, console: Console | None = None) -> None:
    """Says so where the last reply, and with it the answer, is not whole, or was given without something that it should
    rest on; on stderr unless told otherwise."""
    for warning in run.get("warnings", []):
        (console or err()).print(Text(warning, WARN))
    if why := CUT_OFF.get(run.get("finish_reason", "")):
        (console or err()).print(Text(f"the model's last reply was {why}", WARN))


def tell_how_to_go_on(run: RunReply) -> None:
    """What a run that waits needs."""
    waits, path = run.get("waiting_for", ""), run.get("waiting_path", "")
    err().print(Text(f"it waits for {_awaited(waits)}" + (f" at step {path}" if path else ""), WARN))
    for asked in run.get("approvals", []):
        if asked["state"] == "pending":
            how = 'answer {} "…" --step {}' if asked["kind"] == "question" else "approve|deny {} {}"
            err().print(Text(f"  decide it: astromesh approvals {how.format(run['run_id'], asked['path'])}", QUIET))
    if run["status"] == "needs-human":
        err().print(
            Text(f"  settle it: astromesh runs resolve {run['run_id']} {path} --outcome succeeded|failed", QUIET)
        )


def _awaited(waiting_for: str) -> str:
    return _AWAITED.get(waiting_for, waiting_for) or "somebody"


def summary(run: RunReply) -> str:
    """Time, tokens, cost and models of a run."""
    answered = (step for step in run["steps"] if step["kind"] == "model" and step["status"] == "succeeded")
    models = list(dict.fromkeys(step["name"] for step in answered))
    spent = sum(step.get("duration_ms", 0.0) for step in run["steps"])
    usage = run["usage"]
    tokens = f"{usage['input_tokens']:,} in, {usage['output_tokens']:,} out" + (" (estimated)" * usage["estimated"])
    parts = [f"{milliseconds(spent)} in {len(run['steps'])} steps", f"tokens {tokens}"]
    if run["cost"]:
        parts.append(f"${run['cost']:.6f}")
    if models:
        parts.append("by " + ", ".join(models))
    return " · ".join(parts)


def _asked(event: Event) -> Text:
    """What a human is asked: a question with its choices, or a call."""
    asked = event.data.get("approval")
    approval = asked if isinstance(asked, dict) else {}
    choices = approval.get("choices")
    told = f" ({' | '.join(map(str, choices))})" if isinstance(choices, list) else ""
    call = f"{approval.get('tool')}{orjson.dumps(approval.get('arguments')).decode()}"
    return Text("? ", WARN) + Text(str(approval.get("question") or f"may it call {call}"), NAME) + Text(told, QUIET)


def _place(source: SourceReply) -> str:
    headings = " › ".join(source["headings"][1:] or source["headings"])
    return f"  {headings}  {source['start']}–{source['end']}  score {source['score']:.2f}"


def _called(event: Event) -> Text:
    return Text("→ ", NAME) + Text(event.text("name"), NAME) + Text(f" {_arguments(event)}", QUIET)


def _arguments(event: Event) -> str:
    arguments = event.data.get("arguments")
    if isinstance(arguments, dict):
        text = ", ".join(f"{name}={orjson.dumps(value).decode()}" for name, value in arguments.items())
        return shortened(f"({text})", _ARGUMENT_WIDTH)
    return shortened(str(arguments or ""), _ARGUMENT_WIDTH)


def _outcome(event: Event) -> Text:
    took = Text(f" {milliseconds(event.number('duration_ms'))}", QUIET)
    if event.data.get("ok"):
        return Text("✓ ", GOOD) + Text(f"{event.text('name')}: {_told(event.text('output'))}", QUIET) + took
    failure = event.data.get("failure")
    said = str(failure.get("message") or failure.get("error") or "") if isinstance(failure, dict) else ""
    style, mark = (WARN, "? ") if event.text("status") == "unknown" else (BAD, "✗ ")
    return Text(mark, style) + Text(f"{event.text('name')}: {event.text('status')} {said}", style) + took


def _told(output: str) -> str:
    """A tool's result in a few words: how many passages, else its beginning."""
    try:
        document = cast("object", orjson.loads(output))
    except orjson.JSONDecodeError:
        return shortened(output, _ARGUMENT_WIDTH)
    passages = cast("dict[str, object]", document).get("passages") if isinstance(document, dict) else None
    if isinstance(passages, list):
        count = len(cast("list[object]", passages))
        return f"{count} passage{'s' * (count != 1)}"
    return shortened(output, _ARGUMENT_WIDTH)
