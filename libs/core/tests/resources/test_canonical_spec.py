"""A resource means what it says, not how it is spelt: order, spelling and a round trip change neither JSON nor hash."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from pydantic.alias_generators import to_camel

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.parsing import parse_resource
from astromesh_core.resources.resource import read_spec, stored_resource

OTHER_NAMES = {
    "chunking": {"overlap": "chunkOverlap"},
    "embeddings": {"dimension": "dimensions"},
    "conversational": {"max_turns": "window_size"},
    "orchestration": {"timeout_seconds": "timeout"},
}
FREE = {"parameters", "labels", "annotations"}

Fields = dict[str, st.SearchStrategy[JsonValue]]


def mapping(required: Fields, optional: Fields) -> st.SearchStrategy[dict[str, JsonValue]]:
    return st.fixed_dictionaries(required, optional=optional)


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
scalars: st.SearchStrategy[JsonValue] = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]))
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
parameters: st.SearchStrategy[dict[str, JsonValue]] = st.dictionaries(names, scalars, max_size=3)
candidates = mapping(
    {"provider": st.sampled_from(["ollama", "openai_compat", "openai", "extractive"]), "model": names},
    {
        "timeout_seconds": st.integers(1, 600) | st.floats(0.5, 600),
        "parameters": parameters,
    },
)
tools = st.one_of(
    mapping({"type": st.just("rag"), "pipeline": names}, {"top_k": st.integers(1, 9)}),
    mapping(
        {"type": st.just("internal"), "function": st.just("m:f")},
        {"effect": st.sampled_from(["read", "write"]), "timeout_seconds": st.integers(1, 60)},
    ),
)


def listed(candidates: list[dict[str, JsonValue]]) -> list[JsonValue]:
    return [*candidates]


def named(tools: list[dict[str, JsonValue]]) -> list[JsonValue]:
    return [{**tool, "name": f"t{index}"} for index, tool in enumerate(tools)]


agents = mapping(
    {"model": mapping({"primary": candidates}, {"fallback": st.lists(candidates, max_size=2).map(listed)})},
    {
        "identity": mapping({}, {"display_name": texts, "description": texts}),
        "prompts": mapping({"system": texts}, {}),
        "orchestration": mapping({}, {"max_iterations": st.integers(1, 50), "timeout_seconds": st.integers(1, 60)}),
        "tools": st.lists(tools, max_size=3).map(named),
        "memory": mapping({"conversational": mapping({"max_turns": st.integers(1, 99)}, {})}, {}),
    },
)


def document(spec: JsonValue) -> dict[str, JsonValue]:
    return {"apiVersion": "astromesh/v1", "kind": "Agent", "metadata": {"name": "a"}, "spec": spec}


def respelt(value: JsonValue, rng: random.Random, place: str = "") -> JsonValue:
    """The same document in another order and another spelling."""
    if isinstance(value, list):
        return [respelt(item, rng, place) for item in value]
    if not isinstance(value, dict):
        return value.replace("_", "-") if place == "provider" and isinstance(value, str) else value
    keys = sorted(value, key=lambda _: rng.random())
    if place in FREE:
        return {key: value[key] for key in keys}
    return {spelling(key, place, rng): respelt(value[key], rng, key) for key in keys}


def spelling(key: str, place: str, rng: random.Random) -> str:
    other = OTHER_NAMES.get(place, {}).get(key)
    return rng.choice([key, to_camel(key), *([other] if other else [])])


@given(agents, st.integers(0, 2**32))
def test_order_and_spelling_do_not_change_the_hash(spec: dict[str, JsonValue], seed: int) -> None:
    plain = parse_resource(document(spec))
    other = parse_resource(document(respelt(spec, random.Random(seed))))
    assert other.spec_json == plain.spec_json
    assert other.sha256 == plain.sha256 == hashlib.sha256(plain.spec_json.encode()).digest()


@given(agents)
def test_reads_back_what_it_wrote(spec: dict[str, JsonValue]) -> None:
    resource = parse_resource(document(spec), managed_by="file")
    assert AgentSpec.from_json(resource.spec_json) == resource.spec
    assert read_spec("Agent", resource.spec_json).to_json() == resource.spec_json
    assert parse_resource(resource.to_document(), managed_by="file") == resource
    stored = stored_resource(resource.key, resource.spec_json, resource.metadata_json, "file")
    assert stored == resource


def test_a_temperature_means_the_same_beside_the_parameters_and_among_them() -> None:
    beside: JsonValue = {"model": {"primary": {"provider": "ollama", "model": "m", "temperature": 1}}}
    among: JsonValue = {"model": {"primary": {"provider": "ollama", "model": "m", "parameters": {"temperature": 1.0}}}}
    assert parse_resource(document(beside)).sha256 == parse_resource(document(among)).sha256


def test_null_among_free_parameters_is_kept() -> None:
    spec: dict[str, JsonValue] = {
        "model": {"primary": {"provider": "ollama", "model": "m", "parameters": {"seed": None}}}
    }
    assert '"parameters":{"seed":null}' in parse_resource(document(spec)).spec_json


def test_another_text_is_another_hash() -> None:
    spec: dict[str, JsonValue] = {"model": {"primary": {"provider": "ollama", "model": "m"}}}
    other: JsonValue = {**spec, "prompts": {"system": "x"}}
    assert parse_resource(document(spec)).sha256 != parse_resource(document(other)).sha256
