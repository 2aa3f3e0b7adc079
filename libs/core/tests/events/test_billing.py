"""A bill made from the log alone: every call begun counts once, as charged or as estimated."""

from __future__ import annotations

from typing import Any

import pytest

from astromesh.v1 import run_events_pb2 as ev
from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import Charge, Message, ToolCall, ToolSpec, Usage
from astromesh_core.events.billing import Bill, prompt_tokens
from astromesh_core.events.contents import text_content
from astromesh_core.events.runs import fold


def begun(tokens: int = 20, path: str = "1", **more: Any) -> ev.RunEvent:
    return ev.RunEvent(model_call_begun=ev.ModelCallBegun(path=path, prompt_tokens=tokens, **more))


def replied(path: str = "1", **more: Any) -> ev.RunEvent:
    return ev.RunEvent(model_replied=ev.ModelReplied(path=path, **more))


def estimated(prompt: int, answer: int = 0) -> Usage:
    return Usage(input_tokens=prompt, output_tokens=answer, estimated=True)


CHARGE = Charge(usage=Usage(input_tokens=21, output_tokens=5), cost_nanos=7)
PARTIAL = Charge(usage=estimated(20, 3), cost_nanos=4)


@pytest.mark.parametrize(
    ("events", "usage"),
    [
        ([begun(), replied(charge=CHARGE)], CHARGE.usage),
        ([begun()], estimated(20)),
        ([begun(), begun(lost_usage=estimated(20, 2))], estimated(40, 2)),
        (
            [begun(), begun(lost_usage=estimated(20, 2)), replied(charge=CHARGE)],
            Usage(input_tokens=41, output_tokens=7),
        ),
        ([begun(), begun(partial_charges=[PARTIAL]), replied(charge=CHARGE)], Usage(input_tokens=41, output_tokens=8)),
        ([begun(), replied(lost_usage=estimated(20, 9))], estimated(20, 9)),
        ([begun(), replied(), begun(30, "2")], estimated(30)),
        # Written by a release that told nothing of a call's size, and billed what was lost with the reply.
        (
            [begun(0), begun(0), replied(charge=CHARGE, lost_usage=estimated(50))],
            Usage(input_tokens=71, output_tokens=5),
        ),
    ],
)
def test_every_call_begun_counts_once(events: list[ev.RunEvent], usage: Usage) -> None:
    bill = Bill.of(events)
    total, left = bill.closing()
    assert (total.input_tokens, total.output_tokens) == (usage.input_tokens, usage.output_tokens)
    end = ev.RunCancelled(usage=total, lost_usage=left.estimate, partial_charges=left.charges)
    whole = [*events, ev.RunEvent(cancelled=end)]
    run = fold(Envelope(index=index, run=event) for index, event in enumerate(whole))
    assert run.usage == total == Bill.of(whole).usage
    assert run.cost_nanos == Bill.of(whole).cost_nanos


def test_the_text_that_came_counts_with_the_prompt() -> None:
    bill = Bill.of([begun()])
    bill.heard("1", 10)
    assert bill.closing()[0] == estimated(20, 3)
    assert bill.closing(seen=40)[0] == estimated(20, 10)
    assert Bill.of([begun(), replied(charge=CHARGE)]).closing(seen=40)[0] == CHARGE.usage


def test_what_the_router_tells_of_a_candidate_replaces_the_estimate_of_its_text() -> None:
    bill = Bill.of([begun()])
    bill.heard("1", 400)
    bill.charged("1", PARTIAL)
    total, left = bill.closing()
    assert (left.estimate, left.charges) == (estimated(20), [PARTIAL])
    assert (total.input_tokens, total.output_tokens) == (40, 3)


def test_a_prompt_is_all_that_the_model_reads_rounded_up() -> None:
    message = Message(content=text_content("x" * 5), tool_calls=[ToolCall(arguments=text_content("{}"))])
    assert prompt_tokens([message], [ToolSpec(name="a", description="b", parameters_json="{}")]) == 3
    message.images.add()
    assert prompt_tokens([message], []) == 1_000 + prompt_tokens([Message(content=message.content)], [])
