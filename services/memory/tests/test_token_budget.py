"""A budget in tokens, counted by the tokenizer of the agent's model, through the service."""

from __future__ import annotations

import shutil
from pathlib import Path

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh_core.bus.connection import Bus
from astromesh_core.events.token_estimates import MESSAGE_TOKENS
from astromesh_core.telemetry.otel import collecting
from astromesh_native.choice import CHOICE
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, find_model

from .desks import Desk, questions, recall, serving

QUESTION = "unaffable"
TOKENS = MESSAGE_TOKENS + len(["una", "##ffa", "##ble"]) + MESSAGE_TOKENS + len(["yes"])
"""Of a turn: the question and its answer."""


async def test_the_last_turns_that_fit_are_recalled_and_a_trace_tells_who_counted(bus: Bus, tmp_path: Path) -> None:
    (tmp_path / "models" / "m").mkdir(parents=True)
    shutil.copy(find_model() / TOKENIZER_FILE, tmp_path / "models" / "m" / TOKENIZER_FILE)
    desk, exporter = Desk(bus, provider="onnx"), InMemorySpanExporter()
    async with serving(bus, tmp_path, collecting(exporter)) as (stub, _):
        agent = await desk.declare(strategy="token_budget", max_tokens=2 * TOKENS)
        positions = [await desk.turn(QUESTION) for _ in range(3)]
        recalled = await recall(stub, desk, agent, positions[-1])
    assert questions(recalled) == [QUESTION] * 2
    assert (recalled.tokens, recalled.tokens_estimated) == (2 * TOKENS, False)
    (counted,) = [span for span in exporter.get_finished_spans() if span.name == "count tokens"]
    assert dict(counted.attributes or {}) == {"astromesh.native": CHOICE.name}
