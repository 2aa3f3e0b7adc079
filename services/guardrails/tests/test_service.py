"""The rpc, over both placements: the agent's policy, applied to the text that was sent."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256

import orjson
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from astromesh.v1.guardrails_pb2 import (
    GUARDRAIL_STAGE_INPUT,
    GUARDRAIL_STAGE_OUTPUT,
    CheckTextRequest,
    CheckTextResponse,
    GuardrailStage,
)
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub, add_GuardrailsServiceServicer_to_server
from astromesh.v1.values_pb2 import Content, ResourceRef, Sealed, StoredValue
from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.otel import collecting
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_guardrails.policy import compile_policy
from astromesh_guardrails.service import GuardrailsService
from astromesh_native.choice import CHOICE
from astromesh_testing.contracts.placement import Placement

from .judging import NO_MODELS


class Store:
    """Agent versions by hash, and one moved text."""

    def __init__(self) -> None:
        self.specs: dict[bytes, str] = {}

    def add(self, **guardrails: object) -> ResourceRef:
        raw = {"model": {"primary": {"provider": "ollama", "model": "m"}}, "guardrails": guardrails}
        spec = AgentSpec.model_validate_json(orjson.dumps(raw)).to_json()
        digest = sha256(spec.encode()).digest()
        self.specs[digest] = spec
        return ResourceRef(kind="Agent", namespace="default", name="desk", sha256=digest)

    async def by_hash(self, ref: ResourceRef) -> str:
        if ref.sha256 not in self.specs:
            raise NotFound("no such version")
        return self.specs[ref.sha256]

    async def resolve(self, content: Content) -> Content:
        return text_content("moved: ada@example.com") if content.HasField("stored") else content


RULES = [{"type": "pii_detection"}, {"type": "max_length", "max_characters": 500_000}]


async def check(
    placement: Placement,
    store: Store,
    agent: ResourceRef,
    text: Content,
    stage: GuardrailStage.ValueType = GUARDRAIL_STAGE_INPUT,
    telemetry: Telemetry | None = None,
) -> CheckTextResponse:
    def register(server: RpcServer) -> None:
        service = GuardrailsService(store, store, telemetry or Telemetry(), lambda agent: NO_MODELS)
        add_GuardrailsServiceServicer_to_server(service, server)

    async with placement(register) as channel:
        request = CheckTextRequest(agent=agent, stage=stage, text=text)
        return await GuardrailsServiceStub(channel).CheckText(request, timeout=10)


async def test_answers_with_the_redacted_text_its_verdicts_and_the_policy(placement: Placement) -> None:
    store = Store()
    agent = store.add(input=RULES)
    answer = await check(placement, store, agent, text_content("I am ada@example.com"))
    assert plain(answer.text) == "I am [EMAIL]"
    assert not answer.blocked
    assert [finding.kind for verdict in answer.verdicts for finding in verdict.findings] == ["EMAIL"]
    spec = AgentSpec.from_json(store.specs[agent.sha256])
    assert answer.policy_sha256 == compile_policy(spec.guardrails, NO_MODELS).sha256


async def test_a_blocked_text_does_not_come_back(placement: Placement) -> None:
    store = Store()
    agent = store.add(output=[{"type": "pii_detection", "action": "block"}])
    answer = await check(placement, store, agent, text_content("ada@example.com"), GUARDRAIL_STAGE_OUTPUT)
    assert answer.blocked
    assert not answer.HasField("text")
    assert "ada" not in str(answer)


async def test_a_moved_text_is_fetched_first(placement: Placement) -> None:
    store = Store()
    moved = Content(stored=StoredValue(sha256=b"x"))
    assert plain((await check(placement, store, store.add(input=RULES), moved)).text) == "moved: [EMAIL]"


async def test_a_text_that_cannot_be_read_is_refused(placement: Placement) -> None:
    store = Store()
    with pytest.raises(NotFound):
        await check(placement, store, store.add(input=RULES), Content(sealed=Sealed(key_id="k")))


async def test_an_unknown_version_and_an_unnamed_stage_are_refused(placement: Placement) -> None:
    store = Store()
    with pytest.raises(NotFound):
        await check(placement, store, ResourceRef(kind="Agent", name="x", sha256=b"?"), text_content(""))
    with pytest.raises(InvalidInput):
        await check(placement, store, store.add(), text_content(""), GuardrailStage.GUARDRAIL_STAGE_UNSPECIFIED)


async def test_a_long_text_does_not_hold_up_the_loop(placement: Placement) -> None:
    store = Store()
    agent = store.add(input=RULES)
    text = text_content("tel 12 34 56 " * 30_000)
    checking = asyncio.create_task(check(placement, store, agent, text))
    longest = 0.0
    while not checking.done():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - before)
    assert not (await checking).blocked
    assert longest < 0.5


async def test_a_trace_tells_which_implementation_scanned(placement: Placement) -> None:
    store, exporter = Store(), InMemorySpanExporter()
    telemetry = Telemetry(collecting(exporter))
    await check(placement, store, store.add(input=RULES), text_content("ada@example.com"), telemetry=telemetry)
    spans = [span for span in exporter.get_finished_spans() if span.name == "check text"]
    assert [dict(span.attributes or {}) for span in spans] == [{"astromesh.native": CHOICE.name}]
