"""Canonical forms agree with RFC 8785 and depend on nothing but content."""

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.effect_pb2 import Effect, GatherEffect, ModelEffect, ToolEffect
from astromesh.v1.values_pb2 import ROLE_USER, TOOL_EFFECT_KIND_WRITE, Message, Passage, ToolSpec
from astromesh_core.errors import Bug
from astromesh_core.events.canonical import (
    Canonical,
    KeyedDigest,
    canonical_json,
    canonical_message,
    catalogue_sha256,
    effect_sha256,
)
from astromesh_core.events.contents import text_content

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.text(st.characters(codec="ascii"), max_size=10)
values: st.SearchStrategy[Canonical] = st.recursive(
    texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_agrees_with_an_independent_rfc_8785_implementation(value: Canonical) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


def test_the_form_names_fields_enums_and_bytes_as_documented() -> None:
    effect = Effect(model=ModelEffect(role="default", transcript_digest=b"\x01\xff", transcript_length=2))
    assert json.loads(canonical_message(effect)) == {
        "model": {"role": "default", "transcript_digest": "01ff", "transcript_length": 2}
    }
    assert json.loads(canonical_message(ToolSpec(name="t", effect=TOOL_EFFECT_KIND_WRITE)))["effect"] == (
        "TOOL_EFFECT_KIND_WRITE"
    )


@given(texts, texts)
def test_different_effects_have_different_hashes(first: str, second: str) -> None:
    one, two = (Effect(tool=ToolEffect(name=name)) for name in (first, second))
    assert (effect_sha256(one) == effect_sha256(two)) == (first == second)
    assert effect_sha256(one) != effect_sha256(Effect(gather=GatherEffect(effects=[one])))


def test_floating_point_is_refused() -> None:
    with pytest.raises(Bug, match="floating point"):
        canonical_message(Passage(score=0.5))


def test_an_empty_catalogue_has_no_hash_and_order_matters() -> None:
    one, two = ToolSpec(name="one"), ToolSpec(name="two")
    assert catalogue_sha256([]) == b""
    assert catalogue_sha256([one, two]) != catalogue_sha256([two, one])


def test_a_digest_without_the_key_cannot_be_guessed() -> None:
    message = Message(role=ROLE_USER, content=text_content("yes"))
    assert KeyedDigest(b"a").chained(b"", message) != KeyedDigest(b"b").chained(b"", message)
    assert KeyedDigest(b"a").chained(b"", message) == KeyedDigest(b"a").chained(b"", message)
