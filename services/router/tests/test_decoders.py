"""Decoders under any bytes: however a stream is cut it says the same, and rubbish is named as what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astromesh_router.candidates import Candidate
from astromesh_router.dialects.anthropic import Anthropic
from astromesh_router.dialects.decoding import Decoder, Malformed, Reported, joined
from astromesh_router.dialects.lines import LineTooLong
from astromesh_router.dialects.ollama import Ollama
from astromesh_router.dialects.openai_chat import OpenAIChat
from astromesh_router.dialects.port import Delta, Reply, Thought
from astromesh_router.dialects.profiles import profile_of
from astromesh_router.dialects.think_tags import ThinkTags

NAMED = (Malformed, Reported, LineTooLong)


def decoder(provider: str, model: str = "m") -> Decoder:
    candidate = Candidate(provider, "", model)
    formats = {"ollama": Ollama(), "anthropic": Anthropic()}
    return formats.get(provider, OpenAIChat()).decoder(profile_of(candidate))


Heard = tuple[list[Delta], Reply | str]


def hear(reader: Decoder, pieces: Iterator[bytes]) -> Heard:
    """What a reader says of a stream in these pieces, as the streaming drives it, and its reply or its complaint."""
    deltas: list[Delta] = []
    try:
        for piece in pieces:
            deltas += reader.feed(piece)
            if reader.done:
                break
        else:
            deltas += reader.finish()
        return joined(deltas), reader.reply()
    except NAMED as error:
        return [], str(error) or type(error).__name__


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return (data[a:b] for a, b in pairwise(bounds))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def objects(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Objects of the wire format, any field missing or of any kind."""
    return st.fixed_dictionaries({}, optional={name: value | values for name, value in fields.items()})


functions = objects(name=texts, arguments=texts)
calls = st.lists(objects(index=st.integers(0, 2), id=texts, function=functions), max_size=3)
openai_deltas = objects(content=texts, reasoning_content=texts, reasoning=texts, refusal=texts, tool_calls=calls)
openai_usage = objects(prompt_tokens=st.integers(), completion_tokens=st.integers())
openai_chunks = objects(
    choices=st.lists(objects(delta=openai_deltas, finish_reason=st.sampled_from(["stop", "length", None])), max_size=2),
    usage=openai_usage,
)
ollama_lines = objects(
    message=objects(content=texts, thinking=texts, tool_calls=calls),
    done=st.booleans(),
    done_reason=st.sampled_from(["stop", "length", "load"]),
    prompt_eval_count=st.integers(),
    eval_count=st.integers(),
)
KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
anthropic_events = objects(
    type=st.sampled_from([*KINDS, "message_stop", "ping"]),
    index=st.integers(0, 2),
    message=objects(usage=objects(input_tokens=st.integers(), output_tokens=st.integers())),
    content_block=objects(type=st.sampled_from(["text", "thinking", "tool_use"]), text=texts, id=texts, name=texts),
    delta=objects(
        type=st.sampled_from(["text_delta", "thinking_delta", "input_json_delta", "signature_delta"]),
        text=texts,
        thinking=texts,
        partial_json=texts,
        signature=texts,
        stop_reason=texts,
    ),
    usage=objects(output_tokens=st.integers()),
)


def sse(chunks: list[dict[str, object]], end: bytes = b"") -> bytes:
    return b"".join(b"data: %b\n\n" % dumped(chunk) for chunk in chunks) + end


def dumped(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits
        return b'{"choices": [' + b"9" * 400 + b"]}"


def openai_stream(chunks: list[dict[str, object]], done: bool) -> bytes:
    return sse(chunks, b"data: [DONE]\n\n" if done else b"")


def ollama_stream(lines: list[dict[str, object]], done: bool) -> bytes:
    last = b'{"message": {"content": ""}, "done": true}\n' if done else b""
    return b"".join(dumped(line) + b"\n" for line in lines) + last


def anthropic_stream(events: list[dict[str, object]], done: bool) -> bytes:
    return sse(events, sse([{"type": "message_stop"}]) if done else b"")


def streams(
    write: Callable[[list[dict[str, object]], bool], bytes], parts: st.SearchStrategy[dict[str, object]]
) -> st.SearchStrategy[bytes]:
    return st.builds(write, st.lists(parts, max_size=5), st.booleans())


STREAMS = {
    "openai": streams(openai_stream, openai_chunks),
    "vllm": streams(openai_stream, openai_chunks),
    "ollama": streams(ollama_stream, ollama_lines),
    "anthropic": streams(anthropic_stream, anthropic_events),
}
places = st.lists(st.integers(0, 10_000), max_size=8)


@pytest.mark.parametrize("provider", STREAMS)
@given(data=st.data(), places=places)
def test_any_cut_of_a_stream_says_the_same(provider: str, data: st.DataObject, places: list[int]) -> None:
    stream = data.draw(STREAMS[provider])
    whole = hear(decoder(provider), iter([stream]))
    assert hear(decoder(provider), cut(stream, places)) == whole
    bytewise = (stream[place : place + 1] for place in range(len(stream)))
    assert hear(decoder(provider), bytewise) == whole


@pytest.mark.parametrize("provider", STREAMS)
@given(data=st.data(), at=st.integers(0, 10_000), noise=st.binary(max_size=30))
def test_noise_in_a_stream_is_named(provider: str, data: st.DataObject, at: int, noise: bytes) -> None:
    stream = data.draw(STREAMS[provider])
    place = at % (len(stream) + 1)
    deltas, end = hear(decoder(provider), iter([stream[:place], noise, stream[place:]]))
    if isinstance(end, Reply):
        told = "".join(delta for delta in deltas if isinstance(delta, str))
        assert told == end.text
        assert all(isinstance(call.arguments, str) and call.name for call in end.calls)
    else:
        assert end


@pytest.mark.parametrize("provider", STREAMS)
@given(rubbish=st.binary(max_size=200))
@example(rubbish=b"data: " + b"[" * 5000 + b"\n\n")
@example(rubbish=b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n')
@example(rubbish=b'{"message": {"content": "\xff"}}\n')
@example(rubbish=b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>")
def test_rubbish_is_named(provider: str, rubbish: bytes) -> None:
    _, end = hear(decoder(provider), iter([rubbish]))
    assert isinstance(end, str)


@pytest.mark.parametrize("count", [-1, 1 << 53, 1 << 63, 10**30, 1.5, "7", True, None, [], {}])
def test_counts_that_are_none_are_not_taken(count: object) -> None:
    text = b"9" * 31 if count == 10**30 else orjson.dumps(count)
    chunk = b'data: {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": %b}}\n\n' % text
    reader = decoder("openai")
    _, reply = hear(reader, iter([chunk, b"data: [DONE]\n\n"]))
    assert isinstance(reply, Reply)
    assert reply.usage is None


def test_a_character_cut_in_its_middle_is_whole_again() -> None:
    line = b'data: {"choices": [{"delta": {"content": "\xe2\x82\xac"}, "finish_reason": "stop"}]}\n\n'
    deltas, reply = hear(decoder("openai"), (line[place : place + 1] for place in range(len(line))))
    assert deltas == ["€"]
    assert isinstance(reply, Reply)


TAGGED = [
    ("<think>a</think>b", "a", "b"),
    (" \n<think>\na\n</think>\n\nb", "\na\n", "b"),
    ("<think>a", "a", ""),
    ("<thin", "", "<thin"),
    ("<b>x</b>", "", "<b>x</b>"),
    ("x <think>a</think>", "", "x <think>a</think>"),
    ("<think>a</thin</think>b </think>", "a</thin", "b </think>"),
    ("<think></think>", "", ""),
    ("", "", ""),
    ("  ", "", "  "),
]


@pytest.mark.parametrize(("text", "thought", "said"), TAGGED)
def test_tags_are_told_from_text_however_it_comes(text: str, thought: str, said: str) -> None:
    for size in range(1, len(text) + 2):
        tags = ThinkTags()
        pieces = [tags.feed(text[place : place + size]) for place in range(0, len(text), size)]
        pieces.append(tags.finish())
        assert ("".join(each for each, _ in pieces), "".join(each for _, each in pieces)) == (thought, said)


def test_thinking_in_tags_is_streamed_as_thinking() -> None:
    stream = openai_stream(
        [
            {"choices": [{"delta": {"content": part}}]}
            for part in ("<th", "ink>six times", " seven</", "think>\n", "42")
        ],
        done=True,
    )
    deltas, reply = hear(decoder("hf_tgi", "qwen3-8b"), iter([stream]))
    assert deltas == [Thought("six times seven"), "42"]
    assert isinstance(reply, Reply)
    assert (reply.text, [part.text for part in reply.reasoning]) == ("42", ["six times seven"])
