"""Why a run's model calls went to the models that answered them: each candidate with what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from astromesh_cli.client.terminal import BAD, GOOD, NAME, QUIET, TITLE, Cell, out, table

if TYPE_CHECKING:
    from pydantic import JsonValue

    from astromesh_gateway.routes.runs import EventReply


def print_routes(events: Sequence[EventReply]) -> None:
    """A line for each candidate of each model call; nothing where no call had a choice."""
    routes = [(event["event"].get("path"), *_route(event)) for event in events if event["type"] == "model_replied"]
    if all(len(steps) < 2 for _, _, steps in routes):
        return
    out().print(Text("\nModels", TITLE))
    rows = [row for path, strategy, steps in routes for row in _rows(str(path), strategy, steps)]
    table(["STEP", "STRATEGY", "MODEL", "AT", "OUTCOME", "WHY"], rows)


def _route(event: EventReply) -> tuple[str, list[dict[str, JsonValue]]]:
    """The strategy, and the candidates in their order."""
    route = event["event"].get("route")
    if not isinstance(route, dict):
        return "", []
    steps = route.get("steps")
    found = [step for step in (steps if isinstance(steps, list) else []) if isinstance(step, dict)]
    return str(route.get("strategy", "")), found


def _rows(path: str, strategy: str, steps: Sequence[dict[str, JsonValue]]) -> Iterator[list[Cell]]:
    for number, step in enumerate(steps):
        names = dict.fromkeys(str(step.get(name, "")) for name in ("provider", "model"))
        yield [
            path if number == 0 else "",
            Text(strategy if number == 0 else "", QUIET),
            Text(" ".join(names), NAME),
            Text(str(step.get("endpoint", "")), QUIET),
            _outcome(step),
            Text(str(step.get("reason", "")), QUIET),
        ]


def _outcome(step: dict[str, JsonValue]) -> Text:
    if step.get("chosen"):
        return Text("answered", GOOD)
    return Text(f"failed: {step['error_class']}", BAD) if step.get("error_class") else Text("not asked", QUIET)
