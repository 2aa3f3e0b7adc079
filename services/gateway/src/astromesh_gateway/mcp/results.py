"""What a client reads of a run, or of why there is none: content for its model, structure for its code."""

from __future__ import annotations

from typing import Any, cast

from mcp_types import CallToolResult, TextContent

from astromesh.v1.runs_pb2 import RUN_STATUS_COMPLETED, Run
from astromesh_core.answers import parsed_answer
from astromesh_core.errors import AstromeshError
from astromesh_core.events.runs import STATUS_NAMES, TERMINAL
from astromesh_gateway.bodies import Unprocessable
from astromesh_gateway.replies import NANOS, failure_error
from astromesh_gateway.shown import shown

_PREFIX = "astromesh/"


def answered(run: Run, *, needs_structure: bool) -> CallToolResult:
    """The answer of a run that ended or waits. `needs_structure`: the tool has an output schema, so that a client takes
    nothing without structure but an error."""
    if run.status == RUN_STATUS_COMPLETED:
        answer = shown(run.answer)
        value = parsed_answer(answer) if run.structured else None
        return CallToolResult(
            content=_text(answer), structured_content=value if isinstance(value, dict) else None, _meta=_meta(run)
        )
    if run.status in TERMINAL:
        return refused(failure_error(run), run)
    return CallToolResult(content=_text(_waiting(run)), is_error=needs_structure, _meta=_meta(run))


def refused(error: AstromeshError, run: Run | None = None) -> CallToolResult:
    """An error as a model can work with it: what is wrong, and whether to try again."""
    said = "; ".join(map(str, error.problems)) if isinstance(error, Unprocessable) else error.message
    lines = [f"{error.code}: {said}"]
    if error.retry_after is not None:
        lines.append(f"Try again in {error.retry_after:g} s.")
    if run is not None:
        lines.append(f"Run {run.run_id}.")
    return CallToolResult(content=_text(" ".join(lines)), is_error=True, _meta=_meta(run) if run is not None else None)


def _waiting(run: Run) -> str:
    whom = run.waiting_for or "somebody"
    return (
        f"There is no answer yet: run {run.run_id} ({STATUS_NAMES[run.status]}) waits for {whom}. It goes on by itself "
        f"once that is settled; asking again would begin another run."
    )


def _text(text: str) -> list[Any]:
    return [TextContent(type="text", text=text)]


def _meta(run: Run) -> dict[str, Any]:
    meta: dict[str, object] = {
        "run_id": run.run_id,
        "session_id": shown(run.session_id),
        "status": STATUS_NAMES[run.status],
        "cost_usd": run.cost_nanos / NANOS,
        "input_tokens": run.usage.input_tokens,
        "output_tokens": run.usage.output_tokens,
    }
    if run.warnings:
        meta["warnings"] = list(run.warnings)
    return cast("dict[str, Any]", {f"{_PREFIX}{name}": value for name, value in meta.items()})
