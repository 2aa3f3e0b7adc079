"""What was embedded is remembered by content and model, bounded, across restarts; where it cannot be, nothing fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.embedders.cache import FILE, RememberingEmbedder, VectorCache

if TYPE_CHECKING:
    from astromesh_vectors.ports import Vectors

DAY = 86_400.0


class Clock:
    """Seconds that a test sets."""

    now = 100 * DAY

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def remembering(
    folder: Path, model: WordEmbedder, clock: Clock | None = None, most_bytes: int = 1 << 30
) -> AsyncGenerator[RememberingEmbedder]:
    cache = VectorCache(folder, most_bytes=most_bytes, seconds=clock or Clock())
    yield RememberingEmbedder(model, cache)
    await cache.close()


async def test_a_text_is_embedded_once_across_restarts(tmp_path: Path) -> None:
    model = WordEmbedder()
    async with remembering(tmp_path, model) as embedder:
        first = await embedder.embed(["one", "two", "one"])
        assert model.embedded == ["one", "two"]
        assert (await embedder.embed([])).shape == (0, 64)
    async with remembering(tmp_path, model) as embedder:
        again = await embedder.embed(["two", "one", "three"])
        assert model.embedded == ["one", "two", "three"]
    assert np.array_equal(first[[1, 0]], again[:2])
    assert np.array_equal(first, await model.embed(["one", "two", "one"]))
    assert b"two" not in (tmp_path / FILE).read_bytes()


async def test_models_and_dimensions_are_told_apart(tmp_path: Path) -> None:
    other, longer = WordEmbedder(), WordEmbedder(32)
    other.name = "other"
    async with remembering(tmp_path, WordEmbedder()) as embedder:
        await embedder.embed(["one"])
    for model in (other, longer):
        async with remembering(tmp_path, model) as embedder:
            assert (await embedder.embed(["one"])).shape == (1, model.dimension)
            assert model.embedded == ["one"]


async def test_what_was_embedded_before_a_failure_is_kept(tmp_path: Path) -> None:
    class Failing(WordEmbedder):
        async def embed(self, texts: Sequence[str]) -> Vectors:
            if len(self.embedded) >= 512:
                raise OSError("the power is gone")
            return await super().embed(texts)

    texts = [f"text {number}" for number in range(600)]
    async with remembering(tmp_path, Failing()) as embedder:
        with pytest.raises(OSError, match="power"):
            await embedder.embed(texts)
    model = WordEmbedder()
    async with remembering(tmp_path, model) as embedder:
        assert len(await embedder.embed(texts)) == 600
        assert model.embedded == texts[512:]


async def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    model, clock = WordEmbedder(512), Clock()
    async with remembering(tmp_path, model, clock, most_bytes=600_000) as embedder:
        await embedder.embed([f"old {number}" for number in range(50)])
        await embedder.embed([f"liked {number}" for number in range(50)])
        clock.now += DAY
        await embedder.embed([f"liked {number}" for number in range(50)])
        for part in range(8):
            await embedder.embed([f"new {part} {number}" for number in range(20)])
        model.embedded.clear()
        await embedder.embed([f"new 7 {number}" for number in range(20)])
        await embedder.embed([f"liked {number}" for number in range(50)])
        assert model.embedded == []
        await embedder.embed([f"old {number}" for number in range(50)])
        assert 20 <= len(model.embedded) <= 50
    assert (tmp_path / FILE).stat().st_size < 1_200_000


async def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"rubbish" * 10_000)
    model = WordEmbedder()
    async with remembering(tmp_path, model) as embedder:
        for _ in range(3):
            assert len(await embedder.embed(["one"])) == 1
    assert model.embedded in (["one"], ["one", "one"])


async def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    model = WordEmbedder()
    async with remembering(tmp_path / "file" / "deep", model) as embedder:
        for _ in range(2):
            assert len(await embedder.embed(["one"])) == 1
    assert model.embedded == ["one", "one"]


async def test_two_processes_may_share_the_file(tmp_path: Path) -> None:
    one, other = WordEmbedder(), WordEmbedder()
    async with remembering(tmp_path, one) as first, remembering(tmp_path, other) as second:
        await first.embed(["one"])
        await second.embed(["two"])
        await first.embed(["two"])
        await second.embed(["one"])
    assert (one.embedded, other.embedded) == (["one"], ["two"])
