"""The rpc of guardrails: finds the agent's policy and the text, applies one to the other, translates the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from astromesh.v1.guardrails_pb2 import (
    CheckPartRequest,
    CheckPartResponse,
    CheckRulesRequest,
    CheckRulesResponse,
    CheckTextRequest,
    CheckTextResponse,
    MaskTextsRequest,
    MaskTextsResponse,
    PartState,
)
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceServicer
from astromesh.v1.values_pb2 import Content, MaskedValue, Passage
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.compiled import Compiled, Specs
from astromesh_core.rpc.ports import ServicerContext
from astromesh_core.telemetry import gen_ai
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_guardrails.growing import State
from astromesh_guardrails.masking import Masks
from astromesh_guardrails.policy import Policy, compile_policy
from astromesh_guardrails.sources import Sources
from astromesh_native.choice import CHOICE


class Values(Protocol):
    """Fetches contents that were moved to the object store."""

    async def resolve(self, content: Content) -> Content:
        """Returns the content itself."""
        ...


SourcesOf: TypeAlias = Callable[[AgentSpec], Sources]
"""What the rules of an agent find beside them."""


class GuardrailsService(GuardrailsServiceServicer):
    """Checks texts by agents' rules, each version's compiled once."""

    def __init__(self, specs: Specs, values: Values, telemetry: Telemetry, sources: SourcesOf) -> None:
        self._policies = Compiled(specs, lambda ref, spec_json: _policy(spec_json, sources))
        self._values = values
        self._telemetry = telemetry

    async def CheckText(self, request: CheckTextRequest, context: ServicerContext) -> CheckTextResponse:
        """Returns what goes on, or why nothing does. Raises NotFound for an unknown agent version or a sealed text."""
        policy = await self._policies.of(request.agent)
        text = plain(await self._values.resolve(request.text))
        passages = await self._fetched(request.passages)
        with self._telemetry.span("check text", attributes={gen_ai.NATIVE: CHOICE.name}):
            masks = await self._masks(request.masked)
            checked = await policy.check(request.stage, text, passages, masks, every=request.every_rule)
        return CheckTextResponse(
            text=None if checked.blocked else text_content(checked.text),
            blocked=checked.blocked,
            reason=checked.reason,
            verdicts=checked.verdicts,
            policy_sha256=policy.sha256,
            masked=_added(masks),
            places=checked.places,
        )

    async def CheckPart(self, request: CheckPartRequest, context: ServicerContext) -> CheckPartResponse:
        """Returns what can be told of a growing answer. Raises NotFound for an unknown agent version, InvalidInput
        where a rule has to see the whole answer."""
        policy = await self._policies.of(request.agent)
        before = [State(state.before, state.held, state.released) for state in request.states]
        text, states = policy.part(before, request.text, last=request.last)
        return CheckPartResponse(text=text, states=[PartState(**state._asdict()) for state in states])

    async def CheckRules(self, request: CheckRulesRequest, context: ServicerContext) -> CheckRulesResponse:
        """Returns what keeps rules from their work. Raises NotFound for an unknown agent version, InvalidInput for a
        rule that cannot be compiled."""
        return CheckRulesResponse(problems=await (await self._policies.of(request.agent)).problems())

    async def MaskTexts(self, request: MaskTextsRequest, context: ServicerContext) -> MaskTextsResponse:
        """Returns the texts as a model may read them. Raises NotFound for an unknown agent version or a sealed text."""
        policy = await self._policies.of(request.agent)
        masks = await self._masks(request.masked)
        texts = [plain(await self._values.resolve(text)) for text in request.texts]
        masked = await policy.masked(texts, masks)
        return MaskTextsResponse(texts=[text_content(text) for text in masked], masked=_added(masks))

    async def _masks(self, known: Sequence[MaskedValue]) -> Masks:
        return Masks({each.token: plain(await self._values.resolve(each.value)) for each in known})

    async def _fetched(self, passages: Sequence[Passage]) -> list[Passage]:
        return [await self._with_text(passage) for passage in passages]

    async def _with_text(self, passage: Passage) -> Passage:
        return Passage(id=passage.id, text=text_content(plain(await self._values.resolve(passage.text))))


def _policy(spec_json: str, sources: SourcesOf) -> Policy:
    spec = AgentSpec.from_json(spec_json)
    return compile_policy(spec.guardrails, sources(spec))


def _added(masks: Masks) -> list[MaskedValue]:
    return [MaskedValue(token=token, value=text_content(value)) for token, value in masks.added.items()]
