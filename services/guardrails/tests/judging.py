"""Policies made of rules as YAML says them, and what they say of a text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_INPUT, GuardrailStage
from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import NotSupported
from astromesh_core.events.contents import text_content
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_guardrails.likeness import Likenesses
from astromesh_guardrails.policy import Checked, Policy, compile_policy
from astromesh_guardrails.sources import Sources
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.embedders.served import ServedEmbedder

Rule = Mapping[str, object]


async def no_embedder(spec: EmbeddingsSpec) -> ServedEmbedder:
    """Of a mesh without models."""
    raise NotSupported(f"{spec.model} is not installed")


def by_words(config_dir: Path = Path("config")) -> Sources:
    """Texts that share words are near each other."""
    embedder = WordEmbedder(1024)

    async def opened(spec: EmbeddingsSpec) -> ServedEmbedder:
        return embedder

    return Sources(Likenesses(opened), config_dir)


NO_MODELS = Sources(Likenesses(no_embedder), Path("config"))


def policy(*rules: Rule, output: Sequence[Rule] = (), sources: Sources = NO_MODELS) -> Policy:
    """An agent's rules for its input, and for its output."""
    spec = GuardrailsSpec.model_validate({"input": list(rules), "output": list(output)})
    return compile_policy(spec, sources)


def check(
    rules: Policy,
    text: str,
    stage: GuardrailStage.ValueType = GUARDRAIL_STAGE_INPUT,
    passages: Sequence[str] = (),
) -> Checked:
    """What the rules say of a text, and of what was retrieved for it."""
    found = [Passage(id=str(place), text=text_content(passage)) for place, passage in enumerate(passages)]
    return asyncio.run(rules.check(stage, text, found))


def kinds(checked: Checked) -> list[str]:
    """What was found, in order."""
    return [finding.kind for verdict in checked.verdicts for finding in verdict.findings]


def actions(checked: Checked) -> list[int]:
    """What each rule did, in order."""
    return [verdict.action for verdict in checked.verdicts]
