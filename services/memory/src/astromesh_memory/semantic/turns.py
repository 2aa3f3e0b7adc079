"""What of a run is remembered by meaning: its question and its answer, in pieces that an embedder reads whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_USER, Passage
from astromesh_core.errors import NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_vectors.chunking import Chunking, chunk

FORMAT: Final = "1"
"""Of the pieces: another one is made again from the log."""

PIECES: Final = Chunking(chunk_size=1_000, overlap=100)
"""About the 256 tokens that MiniLM reads."""

_SPEAKERS: Final = {ROLE_USER: "User", ROLE_ASSISTANT: "Assistant"}


def passages_of(events: Sequence[Envelope], turn_index: int) -> list[Passage]:
    """The pieces of the turn that the event at an index holds; none where its words were erased.

    `source` is the event, `{run_id}:{index}`.
    """
    envelope = events[turn_index]
    text = _said(envelope)
    source = f"{envelope.aggregate_id}:{envelope.index}"
    return [
        Passage(source=source, start=piece.start, end=piece.end, text=text_content(piece.text))
        for piece in chunk(text, PIECES)
    ]


def _said(envelope: Envelope) -> str:
    lines = list[str]()
    for message in envelope.run.memory_stored.turn:
        speaker = _SPEAKERS.get(message.role)
        try:
            words = plain(message.content).strip()
        except NotFound:
            words = ""
        if speaker and words:
            lines.append(f"{speaker}: {words}")
    return "\n".join(lines)
