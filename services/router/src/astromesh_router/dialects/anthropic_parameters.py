"""What an agent's parameters become in a request of Anthropic's Messages API. Pure.

Rules: a bound on the reply is wanted, and holds for thinking and answer together; a model thinks with a budget only in
a turn that it began so; the schema of an answer stands in `output_config`, beside what an agent sets there.
Source: Claude API reference, "Messages", "Extended thinking" and "Structured outputs".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from pydantic import JsonValue

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.anthropic_messages import may_think
from astromesh_router.dialects.decoding import as_count, as_object
from astromesh_router.dialects.profiles import Profile
from astromesh_router.dialects.requesting import SchemaAsked, asked_schema, parameters

CONFIG = "output_config"


def schema_for(candidate: Candidate, request: CompleteRequest, profile: Profile) -> SchemaAsked:
    """How the request's schema is asked for: in words where the agent sets a format of its own."""
    config = as_object(candidate.parameters.get(CONFIG))
    if config and "format" not in config:
        others = {name: value for name, value in candidate.parameters.items() if name != CONFIG}
        candidate = replace(candidate, parameters=others)
    return asked_schema(candidate, request, profile)


def written_parameters(
    candidate: Candidate, request: CompleteRequest, profile: Profile, schema: SchemaAsked
) -> Mapping[str, JsonValue]:
    """The parameters, with the bound and the schema. Raises CandidateFailed for one that the model does not take."""
    written = parameters(candidate, profile)
    budget = thinking_budget(written)
    if budget and not may_think(request.messages):
        del written["thinking"]
        budget = 0
    if CONFIG in schema.fields:
        own, asked = as_object(written.get(CONFIG)), as_object(schema.fields[CONFIG])
        written[CONFIG] = cast("dict[str, JsonValue]", {**own, **asked})
    return {"max_tokens": profile.longest_reply + budget, **written}


def thinking_budget(written: Mapping[str, JsonValue]) -> int:
    """The tokens that a request sets aside for thinking; 0 where it sets none."""
    thinking = as_object(written.get("thinking"))
    return as_count(thinking.get("budget_tokens")) if thinking.get("type") == "enabled" else 0
