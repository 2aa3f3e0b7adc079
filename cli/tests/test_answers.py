"""What a reader of an answer is told beside it."""

from __future__ import annotations

from io import StringIO

import pytest
from pydantic import JsonValue
from rich.console import Console

from astromesh_cli.client.answers import AnswerPrinter, print_footer
from astromesh_cli.client.streams import Event
from astromesh_gateway.replies import RunReply, UsageReply

USED = UsageReply(
    input_tokens=1,
    output_tokens=1,
    cached_input_tokens=0,
    cache_written_tokens=0,
    reasoning_tokens=0,
    estimated=False,
    cost_usd=0.0,
)


def ended(finish_reason: str) -> RunReply:
    """A run without steps, whose last reply ended so."""
    reply = RunReply(
        run_id="17-x",
        session_id="s",
        agent="a",
        status="completed",
        answer="Once upon",
        steps=[],
        usage=USED,
        sources=[],
        cost=0.0,
    )
    if finish_reason:
        reply["finish_reason"] = finish_reason
    return reply


@pytest.mark.parametrize(
    ("finish_reason", "said"),
    [
        ("length", "the model's last reply was cut off at max_tokens"),
        ("content_filter", "the model's last reply was cut off by the vendor's content filter"),
        ("stop", ""),
        ("tool_calls", ""),
        ("", ""),
    ],
)
def test_an_answer_that_was_cut_off_is_warned_of_below_the_summary(finish_reason: str, said: str) -> None:
    heard = StringIO()
    print_footer(ended(finish_reason), Console(file=heard, width=200))
    _, summary, *after = heard.getvalue().splitlines()
    assert summary.startswith("run 17-x")
    assert after == ([said] if said else [])


@pytest.mark.parametrize(
    ("reason", "said"), [("vllm m: broke off in mid-reply", " (vllm m: broke off in mid-reply)"), ("", "")]
)
def test_a_restart_says_why_where_text_is_void(capsys: pytest.CaptureFixture[str], reason: str, said: str) -> None:
    heard = StringIO()
    printer = AnswerPrinter(says=Console(file=heard, width=200))
    restart = Event("restart", {"run_id": "17-x", "path": "1", **({"reason": reason} if reason else {})})
    printer.take(restart)
    assert heard.getvalue() == ""
    printer.take(Event("token", {"run_id": "17-x", "text": "half"}))
    printer.take(restart)
    assert heard.getvalue() == f"↻ a new attempt begins{said}; what stands above is void\n"
    assert (capsys.readouterr().out, printer.text) == ("half\n", "")


def test_what_an_agent_does_that_was_asked_is_set_in_and_no_worker_is_said_to_be_lost() -> None:
    heard = StringIO()
    printer = AnswerPrinter(says=Console(file=heard, width=200))
    child: JsonValue = {"agent": "helper", "run_id": "18-y"}
    for event in (
        Event("tool_call", {"name": "ask", "arguments": {"query": "x"}}, "4"),
        Event("step", {"event": "suspended", "waiting_for": "child"}, "5"),
        Event("step", {"event": "model_call_begun", "child": child}),
        Event("tool_call", {"name": "add", "arguments": {"a": 1}, "child": child}),
        Event("tool_result", {"name": "add", "ok": True, "output": "2", "child": child}),
        Event("step", {"event": "claimed"}, "6"),
        Event("tool_result", {"name": "ask", "ok": True, "output": "it is 2"}, "7"),
        Event("step", {"event": "resumed"}, "8"),
        Event("step", {"event": "claimed"}, "9"),
    ):
        printer.take(event)
    assert [line.rstrip() for line in heard.getvalue().splitlines()] == [
        '→ ask (query="x")',
        "  helper → add (a=1)",
        "  helper ✓ add: 2 0.0 ms",
        "✓ ask: it is 2 0.0 ms",
        "↷ another worker took the run over and goes on",
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("approval", "approval"), ("unknown", "word of what became of a write"), ("", "somebody")],
)
def test_what_a_run_waits_for_is_told(reason: str, told: str) -> None:
    heard = StringIO()
    AnswerPrinter(says=Console(file=heard, width=200)).take(
        Event("step", {"event": "suspended", "waiting_for": reason})
    )
    assert heard.getvalue() == f"⏸ waits for {told}\n"
