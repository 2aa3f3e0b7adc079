"""What of a run is remembered by meaning: its question and its answer, in pieces that an embedder reads whole. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Message, Passage, Role
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_vectors.chunking import Chunking, chunk

FORMAT: Final = "2"
"""Of the pieces: another one is made again from the log."""

PIECES: Final = Chunking(chunk_size=1_000, overlap=100)
"""About the 256 tokens that MiniLM reads."""

BESIDE: Final = 500
"""Characters of the other's words that a piece shows beside its own."""


Shown: TypeAlias = Callable[[str], tuple[str, str]]
"""The question and the answer that a piece shows."""


class Piece(NamedTuple):
    """A passage to be kept, and the words by which it is found: one person's alone, for two would blur each other."""

    passage: Passage
    meaning: str


def pieces_of(events: Sequence[Envelope], turn_index: int) -> list[Piece]:
    """The pieces of the turn that the event at an index holds; none where its words were erased.

    `source` is the event, `{run_id}:{index}`; `start` and `end` are places in the question or in the answer.
    """
    envelope = events[turn_index]
    turn = envelope.run.memory_stored.turn
    question, answer = _said(turn, ROLE_USER), _said(turn, ROLE_ASSISTANT)
    source = f"{envelope.aggregate_id}:{envelope.index}"
    return [
        *_pieces(question, source, lambda piece: (piece, _beginning(answer))),
        *_pieces(answer, source, lambda piece: (_beginning(question), piece)),
    ]


def _pieces(text: str, source: str, shown: Shown) -> Iterator[Piece]:
    for piece in chunk(text, PIECES):
        asked, told = shown(piece.text)
        lines = [f"{who}: {words}" for who, words in (("User", asked), ("Assistant", told)) if words]
        passage = Passage(source=source, start=piece.start, end=piece.end, text=text_content("\n".join(lines)))
        yield Piece(passage, piece.text)


def _said(turn: Sequence[Message], role: Role.ValueType) -> str:
    words = list[str]()
    for message in turn:
        if message.role == role:
            try:
                words.append(plain(message.content).strip())
            except NotFound:
                continue  # erased
    return "\n".join(filter(None, words))


def _beginning(text: str) -> str:
    return text if len(text) <= BESIDE else f"{text[: BESIDE - 1]}…"
