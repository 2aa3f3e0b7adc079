"""A run as it stood at an event, and two runs beside each other, drawn."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from rich.text import Text

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
    status_text,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from astromesh_gateway.comparing import DiffReply, SideReply, StepPairReply
    from astromesh_gateway.messages import MessageReply
    from astromesh_gateway.replies import StepReply
    from astromesh_gateway.routes.looking_back import MomentReply

_WIDTH = 60


def print_moment(moment: MomentReply) -> None:
    """Status, steps and spend so far, then the prompt as it was sent, and what the run knew."""
    run = moment["run"]
    head = Text.assemble(("run ", QUIET), moment["run_id"], ("  at event ", QUIET), str(moment["index"]))
    out().print(head.append(f" {moment['type'].replace('_', ' ')}  {moment['time']}", QUIET))
    out().print(Text.assemble("status ", status_text(run["status"])))
    usage = run["usage"]
    spent = f"spent {usage['input_tokens']:,} + {usage['output_tokens']:,} tokens, ${usage['cost_usd']:,.6f}"
    out().print(Text(spent, QUIET))
    if run["steps"]:
        out().print(Text("\nSteps", TITLE))
        rows: list[list[Cell]] = [
            [step["path"], step["kind"], Text(step["name"], NAME), step["status"], shortened(_told(step), _WIDTH)]
            for step in run["steps"]
        ]
        table(["PATH", "KIND", "NAME", "STATUS", "CAME TO"], rows)
    prompt = moment["prompt"]
    if prompt is None:
        out().print(Text("\nno model had been asked yet", QUIET))
    else:
        out().print(Text(f"\nPrompt of step {prompt['path']}, as it was sent", TITLE))
        _print_messages(prompt["messages"])
        if prompt["tools"]:
            out().print(Text.assemble(("tools offered: ", QUIET), ", ".join(prompt["tools"])))
    context = moment["context"]
    if context is not None:
        counts = {name: len(context[name]) for name in ("history", "passages", "memories", "episodes")}
        out().print(
            Text("\nKnown beside the question: ", QUIET).append(", ".join(f"{n} {w}" for w, n in counts.items()))
        )


def print_diff(found: DiffReply) -> None:
    """The two runs' figures, each pair of steps, and what differs of the answers."""
    a, b = found["a"], found["b"]
    table(["", "A", "B"], [[label, *cells] for label, cells in _figures(a, b)])
    out().print(Text("\nSteps", TITLE))
    for pair in found["steps"]:
        _print_pair(pair)
    if a["query"] != b["query"]:
        out().print(Text("\nQuestion", TITLE))
        _print_lines(a["query"], b["query"])
    if a["answer"] != b["answer"]:
        out().print(Text("\nAnswer", TITLE))
        _print_lines(a["answer"] or "", b["answer"] or "")
    if not found["differs"]:
        out().print(Text("\n✓ the runs took the same steps to the same answer", GOOD))


def _figures(a: SideReply, b: SideReply) -> list[tuple[str, tuple[Cell, Cell]]]:
    return [
        ("run", (a["run_id"], b["run_id"])),
        ("agent", (a["agent"], b["agent"])),
        ("status", (status_text(a["status"]), status_text(b["status"]))),
        ("models", (", ".join(a["models"]), ", ".join(b["models"]))),
        ("took", (milliseconds(a["duration_ms"]), milliseconds(b["duration_ms"]))),
        (
            "tokens",
            (f"{a['input_tokens']:,} + {a['output_tokens']:,}", f"{b['input_tokens']:,} + {b['output_tokens']:,}"),
        ),
        ("cost", (f"${a['cost']:,.6f}", f"${b['cost']:,.6f}")),
    ]


def _print_pair(pair: StepPairReply) -> None:
    sides = [side for side in (pair.get("a"), pair.get("b")) if side is not None]
    name = " / ".join(dict.fromkeys(f"{side['kind']} {side['name']}" for side in sides))
    if pair["same"]:
        out().print(Text.assemble((f"  = {pair['path']} ", QUIET), name))
    elif len(sides) == 1:
        only = "A" if "a" in pair else "B"
        out().print(Text.assemble((f"  ! {pair['path']} ", BAD), name, (f"  only in {only}", QUIET)))
    else:
        out().print(Text.assemble((f"  ! {pair['path']} ", WARN), name, (f"  {', '.join(pair['differs'])}", QUIET)))
        for field in ("input", "output"):
            if field in pair["differs"]:
                _print_lines(str(sides[0].get(field, "")), str(sides[1].get(field, "")))


def _print_lines(a: str, b: str) -> None:
    for line in list(difflib.unified_diff(a.splitlines(), b.splitlines(), lineterm="", n=1))[2:]:
        style = {"+": GOOD, "-": BAD, "@": QUIET}.get(line[:1], "")
        if not line.startswith("@"):
            out().print(Text(f"      {line}", style))


def _print_messages(messages: Sequence[MessageReply]) -> None:
    for message in messages:
        out().print(Text(f"{message['role']} {message.get('name', '')}".rstrip(), NAME))
        for line in message["content"].splitlines():
            out().print(Text(f"  {line}"))
        for call in message.get("tool_calls", []):
            out().print(Text(f"  → {call['name']} {call['arguments']}", QUIET))


def _told(step: StepReply) -> str:
    failure = step.get("failure")
    return f"{failure['error']}: {failure['message']}" if failure else step.get("output", "")
