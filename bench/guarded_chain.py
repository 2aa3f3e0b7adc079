"""An agent's input rules that ask no model, one of every kind, as the guardrails service applies them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import orjson

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, CheckTextRequest
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub, add_GuardrailsServiceServicer_to_server
from astromesh.v1.values_pb2 import Content, ResourceRef
from astromesh_core.errors import NotSupported
from astromesh_core.events.contents import text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.rpc.inprocess import InProcessServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_guardrails.likeness import Likenesses
from astromesh_guardrails.service import GuardrailsService
from astromesh_guardrails.sources import Sources
from astromesh_vectors.embedders.served import ServedEmbedder

COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT")
RULES = [
    {"type": "max_length", "max_characters": 100_000, "max_tokens": 50_000},
    {"type": "pii_detection", "countries": list(COUNTRIES)},
    {
        "type": "content_filter",
        "forbidden_keywords": [f"word{number} of a list" for number in range(200)],
        "forbidden_patterns": [r"PRJ-\d{4}", r"(?i)internal use only", r"\b[A-Z]{3}\d{9}\b"],
        "action": "redact",
    },
    {"type": "topic_filter", "method": "keywords", "blocked_topics": ["gun control", "party politics"]},
    {"type": "prompt_injection", "similarity": False, "action": "warn"},
]


class Chain:
    """The service in this process, asked as a run asks it."""

    def __init__(self) -> None:
        model = {"primary": {"provider": "ollama", "model": "m"}}
        self._spec = AgentSpec.model_validate_json(orjson.dumps({"model": model, "guardrails": {"input": RULES}}))
        self._spec_json = self._spec.to_json()
        self._ref = ResourceRef(
            kind="Agent", namespace="default", name="desk", sha256=sha256(self._spec_json.encode()).digest()
        )
        sources = Sources(Likenesses(no_model), Path("config"))
        service = GuardrailsService(self, self, Telemetry(), lambda agent: sources)
        server = InProcessServer(Telemetry())
        server.install(lambda it: add_GuardrailsServiceServicer_to_server(service, it))
        self._stub = GuardrailsServiceStub(server.channel())

    async def by_hash(self, ref: ResourceRef) -> str:
        """See Specs."""
        del ref
        return self._spec_json

    async def resolve(self, content: Content) -> Content:
        """See Values."""
        return content

    async def check(self, text: str) -> None:
        """Checks a text."""
        request = CheckTextRequest(agent=self._ref, stage=GUARDRAIL_STAGE_INPUT, text=text_content(text))
        answer = await self._stub.CheckText(request, timeout=60)
        assert len(answer.verdicts) == len(RULES)


async def no_model(spec: EmbeddingsSpec) -> ServedEmbedder:
    """There is none."""
    raise NotSupported(f"{spec.model} is not to be asked here")
