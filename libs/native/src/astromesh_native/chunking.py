"""Chunks, headings and sentence edges: Rust where it is built, else the twin. What a chunk is worth is the caller's."""

from typing import TYPE_CHECKING

from astromesh_native.choice import RUST
from astromesh_native.twins.chunking import cut_at

if RUST and not TYPE_CHECKING:
    from astromesh_native_rust import Chunker, headings, sentence_edges
else:
    from astromesh_native.twins.chunking import Chunker, headings
    from astromesh_native.twins.sentences import sentence_edges

__all__ = ["Chunker", "cut_at", "headings", "sentence_edges"]
