"""Where the meaning of a text changes: between two sentences that an embedder holds unlike. Cutting is `chunking`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from astromesh_native.chunking import cut_at, sentence_edges
from astromesh_native.rulers import Ruler
from astromesh_vectors.chunking import Chunking, sections
from astromesh_vectors.ports import Embedder

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

AT_A_TIME = 256
"""Sentences embedded between two looks at whether anybody still wants them."""


async def meaning_breaks(
    text: str, chunking: Chunking, embedder: Embedder, ruler: Ruler, *, markdown: bool = False
) -> set[int]:
    """Where sentences begin whose cosine with the one before is below the threshold. Embeds each sentence once.

    Sentences of two sections are not compared: a heading cuts anyway.
    """
    found: set[int] = set()
    before: tuple[int, Vectors] | None = None
    units = await asyncio.to_thread(lambda: list(_units(text, ruler, markdown=markdown)))
    for begin in range(0, len(units), AT_A_TIME):
        group = units[begin : begin + AT_A_TIME]
        vectors = await embedder.embed([text[start:end].strip() for _, start, end in group])
        for (section, start, _), vector in zip(group, vectors, strict=True):
            if before is not None and before[0] == section and before[1] @ vector < chunking.similarity_threshold:
                found.add(start)
            before = section, vector
    return found


def _units(text: str, ruler: Ruler, *, markdown: bool) -> Iterator[tuple[int, int, int]]:
    """Each sentence with the number of its section."""
    edges = sentence_edges(text)
    for number, section in enumerate(sections(text, markdown=markdown)):
        for start, end in cut_at(section.start, section.end, edges, ruler):
            if text[start:end].strip():
                yield number, start, end
