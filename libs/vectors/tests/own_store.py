"""A store of one's own: it keeps everything in memory and in a file, and looks at every passage."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from pydantic import JsonValue

from astromesh.v1.values_pb2 import Passage
from astromesh_core.errors import Conflict, InvalidInput, NotFound, Unavailable
from astromesh_core.filters import Filter, Metadata, MetadataValue, is_met
from astromesh_vectors.passages import checked
from astromesh_vectors.ports import Match, Matches
from astromesh_vectors.unit import unit_rows


@dataclass
class Kept:
    """A document."""

    sha256: bytes
    metadata: dict[str, MetadataValue]
    text: str
    matches: list[Match]


class Mine:
    """Named by `backend: "mine:Mine"`."""

    def __init__(
        self,
        *,
        collection: str,
        model: str,
        dimension: int,
        folder: Path,
        url: str,
        api_key: str,
        parameters: Mapping[str, JsonValue],
    ) -> None:
        self.dimension = dimension
        self.model = model
        self.file = folder / str(parameters.get("file", "store.json"))
        self.kept: dict[str, Kept] | None = None
        self.closed = False

    async def put(
        self,
        document: str,
        sha256: bytes,
        passages: Sequence[Passage],
        vectors: NDArray[np.float32],
        metadata: Metadata | None = None,
        text: str = "",
    ) -> bool:
        content = checked(document, passages, vectors, metadata, self.dimension)
        kept = self._opened()
        if document in kept and kept[document].sha256 == sha256:
            return False
        matches = [
            Match(_stored(f"{document}#{place}", passage, own), vector)
            for place, (passage, own, vector) in enumerate(zip(passages, content.each, content.units, strict=True))
        ]
        kept.pop(document, None)
        kept[document] = Kept(sha256, content.metadata, text, matches)
        self._save(kept)
        return True

    async def remove(self, document: str) -> bool:
        kept = self._opened()
        if kept.pop(document, None) is None:
            return False
        self._save(kept)
        return True

    async def documents(self, where: Filter | None = None) -> dict[str, bytes]:
        kept = self._opened()
        return {name: each.sha256 for name, each in kept.items() if where is None or is_met(where, each.metadata)}

    async def metadata(self, document: str) -> dict[str, MetadataValue]:
        return self._of(document).metadata

    async def text(self, document: str) -> str:
        return self._of(document).text

    async def passages(self, document: str) -> list[Match]:
        return [_found(match, 0.0) for match in self._of(document).matches]

    async def count(self) -> int:
        return sum(len(each.matches) for each in self._opened().values())

    async def search(
        self,
        vector: NDArray[np.float32] | None,
        words: str,
        limit: int,
        where: Filter | None = None,
        min_score: float = -1.0,
    ) -> Matches:
        if limit < 1:
            raise InvalidInput(f"the limit is {limit}; it must be at least 1")
        there = [match for each in self._opened().values() for match in each.matches if _meets(match, where)]
        worded = _worded(there, words)
        near: list[Match] = []
        if vector is not None:
            (query,) = unit_rows([vector], self.dimension)
            scored = [_found(match, float(query @ match.vector)) for match in there]
            near = [match for match in scored if match.passage.score >= min_score]
            near.sort(key=lambda match: -round(match.passage.score, 6))
        return Matches(near[:limit], [_found(match, 0.0) for match in worded[:limit]])

    async def close(self) -> None:
        self.closed = True

    def _opened(self) -> dict[str, Kept]:
        if self.closed:
            raise Unavailable("the store is closed")
        if self.kept is None:
            self.kept = self._load()
        return self.kept

    def _of(self, document: str) -> Kept:
        kept = self._opened().get(document)
        if kept is None:
            raise NotFound(f"document {document!r} is not in this collection")
        return kept

    def _load(self) -> dict[str, Kept]:
        if not self.file.exists():
            return {}
        stored = json.loads(self.file.read_text())
        if (stored["model"], stored["dimension"]) != (self.model, self.dimension):
            raise Conflict(f"holds vectors of {stored['model']} with {stored['dimension']} dimensions")
        return {
            name: Kept(bytes.fromhex(sha256), metadata, text, [_read(each) for each in matches])
            for name, sha256, metadata, text, matches in stored["documents"]
        }

    def _save(self, kept: dict[str, Kept]) -> None:
        documents = [
            [name, each.sha256.hex(), each.metadata, each.text, [_written(match) for match in each.matches]]
            for name, each in kept.items()
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        aside = self.file.with_suffix(".new")
        aside.write_text(json.dumps({"model": self.model, "dimension": self.dimension, "documents": documents}))
        aside.replace(self.file)


def _stored(name: str, passage: Passage, metadata: Metadata) -> Passage:
    stored = Passage(id=name, sha256=hashlib.sha256(passage.text.text.encode()).digest())
    stored.MergeFrom(passage)
    stored.metadata_json = json.dumps(dict(metadata))
    return stored


def _found(match: Match, score: float) -> Match:
    passage = Passage()
    passage.CopyFrom(match.passage)
    passage.score = max(-1.0, min(1.0, score))
    return Match(passage, match.vector)


def _worded(there: Sequence[Match], words: str) -> list[Match]:
    """Those that share words, best first: rare words count more, and short passages do."""
    texts = [re.findall(r"\w+", match.passage.text.text.casefold()) for match in there]
    found: list[tuple[float, int]] = []
    for place, text in enumerate(texts):
        shared = set(re.findall(r"\w+", words.casefold())) & set(text)
        rarity = sum(math.log(1 + len(texts) / sum(word in other for other in texts)) for word in shared)
        if shared:
            found.append((-rarity / (1 + len(text) / 20), place))
    return [there[place] for _, place in sorted(found)]


def _meets(match: Match, where: Filter | None) -> bool:
    return where is None or is_met(where, json.loads(match.passage.metadata_json))


def _written(match: Match) -> list[str]:
    return [json_format.MessageToJson(match.passage), base64.b64encode(match.vector.tobytes()).decode()]


def _read(written: list[str]) -> Match:
    vector = np.frombuffer(base64.b64decode(written[1]), dtype="<f4")
    return Match(json_format.Parse(written[0], Passage()), vector)
