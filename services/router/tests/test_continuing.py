"""Where one model goes on for another, every character stands once, however the text is cut."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_router.candidates import Candidate
from astromesh_router.continuing import SHORTEST_ECHO, Joint, can_continue

VLLM = Candidate("vllm", "openai_compat", "m")
TEXTS = st.text(st.sampled_from("ab \n\tä🙂e\u0301"), max_size=60)


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, str]:
    whole = draw(TEXTS)
    place = draw(st.integers(0, len(whole)))
    return whole[:place], whole[place:]


@st.composite
def in_pieces(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def joined(told: str, pieces: list[str]) -> str:
    joint = Joint(told)
    return told + "".join(joint.feed(piece) for piece in pieces) + joint.finish()


@given(cut_texts(), st.data())
def test_nothing_is_repeated_and_nothing_is_missing(cut: tuple[str, str], data: st.DataObject) -> None:
    told, rest = cut
    continuation = told[len(Joint(told).prefill) :] + rest
    assert joined(told, data.draw(in_pieces(continuation))) == told + rest


@given(cut_texts(), st.data())
def test_a_server_that_repeats_the_beginning_is_seen_through(cut: tuple[str, str], data: st.DataObject) -> None:
    told, rest = "a sentence that is long" + cut[0], cut[1]
    assert len(told) > SHORTEST_ECHO
    assert joined(told, data.draw(in_pieces(told + rest))) == told + rest


def test_a_continuation_that_begins_as_the_answer_did_is_kept() -> None:
    assert joined("ha", ["ha", " ha"]) == "haha ha"
    assert joined("The answer to that is", [" The answer"]) == "The answer to that is The answer"


def test_a_reply_that_ends_while_it_looks_like_an_echo_is_kept() -> None:
    assert joined("The answer to that is", ["The ans"]) == "The answer to that isThe ans"


def test_the_beginning_is_sent_without_the_whitespace_at_its_end() -> None:
    assert Joint("one two \n").prefill == "one two"


def test_goes_on_only_where_the_model_can_and_no_form_binds_the_reply() -> None:
    free, bound = CompleteRequest(), CompleteRequest(output_schema_json='{"type":"object"}')
    assert can_continue(VLLM, free, "one")
    assert not can_continue(VLLM, bound, "one")
    assert not can_continue(VLLM, free, " \n")
    assert not can_continue(Candidate("openai_compat", "openai_compat", "m"), free, "one")


@pytest.mark.parametrize("name", ["response_format", "format", "grammar"])
def test_a_parameter_that_binds_the_reply_counts_as_a_form(name: str) -> None:
    assert not can_continue(replace(VLLM, parameters={name: "json"}), CompleteRequest(), "one")


def test_a_long_text_is_gone_on_with_as_fast_as_it_comes() -> None:
    """Each piece costs its own length, not that of all before it."""
    told = "x" * 1_000_000 + " " * 1_000_000
    begun = time.perf_counter()
    again = [told[place : place + 100] for place in range(0, len(told), 100)]
    assert joined(told, [*again, "end"]) == told + "end"
    assert time.perf_counter() - begun < 2
