"""A reply that is cut at any byte of its stream, gone on with by another model: every character stands once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import orjson
import pytest

from astromesh_core.events.contents import plain
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.ollama import Ollama
from astromesh_router.dialects.openai_chat import OpenAIChat
from astromesh_router.dialects.streaming import HttpDialect
from astromesh_router.exchange import BrokeOff, Exchange
from astromesh_router.wire import Address, Wire

from .asking import Gathered, asking, complete

TEXT = "Kä 🧀  \n\n e\u0301\t»B«\u2028 "
THOUGHT = "Hm 🤔"
Stream = Callable[[str], bytes]


def chunks(*deltas: Mapping[str, object]) -> bytes:
    """OpenAI's events for these deltas, complete. Characters are sometimes escaped, as vendors do."""
    told = [orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]
    end = [b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', b'{"choices":[],"usage":null}', b"[DONE]"]
    return b"".join(b"data: %b\n\n" % data for data in [*told, *end])


def openai_stream(text: str) -> bytes:
    return chunks(*({"content": text[at : at + 7]} for at in range(0, len(text), 7)))


def thinking_stream(text: str) -> bytes:
    return chunks({"reasoning_content": THOUGHT[:3]}, {"reasoning_content": THOUGHT[3:]}, {"content": text})


def calling_stream(text: str) -> bytes:
    call = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a":'}}
    rest = {"index": 0, "function": {"arguments": ' "ä"}'}}
    return chunks({"content": text}, {"tool_calls": [call]}, {"tool_calls": [rest]})


def ollama_stream(text: str) -> bytes:
    told = [{"message": {"role": "assistant", "content": text[at : at + 7]}} for at in range(0, len(text), 7)]
    return b"".join(orjson.dumps(line) + b"\n" for line in [*told, {"message": {"content": ""}, "done": True}])


class Body:
    """A reply of so many bytes, and then the end of the connection."""

    status = 200

    def __init__(self, data: bytes, piece: int, *, breaks: bool) -> None:
        self._pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        self._breaks = breaks
        self.ended = False
        self.closed = False

    def header(self, name: str) -> str:
        return "llama.cpp" if name == "server" else ""

    async def read(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._breaks:
            raise BrokeOff
        self.ended = True
        return b""

    async def close(self) -> None:
        self.closed = True


class CutWire(Wire):
    """Answers the first requests with what is left of a stream after a cut, and all others with whole streams."""

    def __init__(self, streams: Mapping[str, Stream], cuts: list[int], piece: int, *, breaks: bool) -> None:
        super().__init__()
        self._streams = streams
        self._cuts = cuts
        self._piece = piece
        self._breaks = breaks
        self.bodies: list[Body] = []

    async def post(self, candidate: Candidate, to: Address, body: bytes) -> Exchange:
        last = cast("list[dict[str, Any]]", orjson.loads(body)["messages"])[-1]
        begun = last["content"] if last["role"] == "assistant" else ""
        assert TEXT.startswith(begun)
        whole = self._streams[candidate.model](TEXT[len(begun) :])
        cut = self._cuts.pop(0) if self._cuts else len(whole)
        self.bodies.append(Body(whole[:cut], self._piece, breaks=self._breaks and cut < len(whole)))
        return self.bodies[-1]


async def cut_call(streams: Mapping[str, Stream], *cuts: int, piece: int, breaks: bool, again: str) -> Gathered:
    """What the caller of models `first`, `second` and `third` reads; `again` is the provider of the later ones."""
    wire = CutWire(streams, list(cuts), piece, breaks=breaks)
    dialects = {"openai_compat": HttpDialect(wire, OpenAIChat(), {}), "ollama": HttpDialect(wire, Ollama(), {})}
    calls = Calls(dialects, Telemetry())
    candidates = [
        Candidate(provider, "ollama" if provider == "ollama" else "openai_compat", name, "http://h", max_retries=0)
        for name, provider in (("first", again), ("second", again), ("third", again))
    ]
    gathered = await complete(calls, asking(), *candidates)
    assert gathered.text == plain(gathered.completion.message.content)
    assert all(body.closed for body in wire.bodies)
    return gathered


@pytest.mark.parametrize(
    ("stream", "again", "piece", "breaks"),
    [
        (openai_stream, "vllm", 1, True),
        (openai_stream, "vllm", 100_000, False),
        (openai_stream, "llamacpp", 50, False),
        (openai_stream, "openai", 50, True),
        (ollama_stream, "ollama", 50, True),
        (thinking_stream, "vllm", 50, True),
    ],
)
async def test_a_reply_cut_at_any_byte_is_read_whole_and_once(
    stream: Stream, again: str, piece: int, breaks: bool
) -> None:
    streams: dict[str, Stream] = dict.fromkeys(("first", "second", "third"), stream)
    for cut in range(len(stream(TEXT))):
        gathered = await cut_call(streams, cut, cut // 2, piece=piece, breaks=breaks, again=again)
        assert gathered.text == TEXT, (cut, gathered)
        assert again == "openai" or not gathered.voided or stream is thinking_stream


async def test_a_reply_that_was_complete_when_its_connection_broke_is_asked_of_nobody_else() -> None:
    whole = openai_stream(TEXT)
    finished = whole.index(b'"stop"}]}') + len(b'"stop"}]}\n\n')
    for cut in range(finished, len(whole)):
        streams = {"first": openai_stream, "second": thinking_stream}
        gathered = await cut_call(streams, cut, piece=50, breaks=True, again="vllm")
        assert [step.chosen for step in gathered.completion.route.steps] == [True, False, False], cut
        assert gathered.completion.charge.usage.estimated


async def test_a_tool_call_cut_at_any_byte_is_called_once() -> None:
    streams = {"first": calling_stream, "second": calling_stream, "third": calling_stream}
    for cut in range(len(calling_stream(TEXT))):
        gathered = await cut_call(streams, cut, piece=50, breaks=True, again="vllm")
        assert gathered.text == TEXT, cut
        (call,) = gathered.completion.message.tool_calls
        assert (call.name, plain(call.arguments)) == ("add", '{"a": "ä"}')
