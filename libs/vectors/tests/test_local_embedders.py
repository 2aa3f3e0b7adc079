"""Embedders that load a model in this process: ONNX graphs of the user's own, and sentence-transformers."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from astromesh_core.errors import InvalidInput, NotFound, NotSupported, Unavailable
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_testing.contracts.embedder import Embedder, EmbedderContract
from astromesh_testing.models import cross_encoder
from astromesh_vectors.embedders import torch_model
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.embedders.recent import RecentEmbedder


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Embedders]:
    modules = Modules(folder / "config" / "embedders")
    embedders = Embedders(folder / "data", modules, {})
    try:
        yield embedders
    finally:
        await embedders.close()
        modules.close()


SENTENCE_TRANSFORMERS = """
import threading
import numpy as np

LOADED = []


class SentenceTransformer:
    def __init__(self, model_name_or_path, device=None):
        if model_name_or_path == "gone/model":
            raise OSError("gone/model is not a local folder and is not a valid model identifier")
        LOADED.append(model_name_or_path)
        self.asked = []

    def get_embedding_dimension(self):
        return 3

    def encode(self, sentences, batch_size=32, show_progress_bar=None, convert_to_numpy=True,
               normalize_embeddings=False):
        assert convert_to_numpy and normalize_embeddings and show_progress_bar is False
        assert threading.current_thread() is not threading.main_thread()
        self.asked.append(len(sentences))
        counts = [[1.0 + text.count("a"), len(text), 9 * text.count("o")] for text in sentences]
        rows = np.array(counts, dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
"""


@pytest.fixture
def sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A package with the documented interface on the path. The real one is asked by tests/models."""
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "sentence_transformers.py").write_text(SENTENCE_TRANSFORMERS)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield
    sys.modules.pop("sentence_transformers", None)


class TestOnnxFolder(EmbedderContract):
    @pytest.fixture
    async def embedder(self, tmp_path: Path) -> AsyncGenerator[Embedder]:
        cross_encoder.write_encoder(tmp_path / "data" / "models" / "own" / "tiny")
        async with opened(tmp_path) as embedders:
            yield await embedders.of(EmbeddingsSpec(provider="onnx", model="own/tiny"))


@pytest.mark.parametrize("first_token", [True, False])
async def test_an_onnx_folder_is_pooled_as_it_says(tmp_path: Path, first_token: bool) -> None:
    folder = cross_encoder.write_encoder(tmp_path / "tiny")
    if first_token:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    async with opened(tmp_path) as embedders:
        embedder = await embedders.of(EmbeddingsSpec(provider="onnx", model=str(folder)))
        assert (embedder.dimension, await embedder.check()) == (cross_encoder.HIDDEN, "LoadedOnFirstUse")
        texts = ["owls hunt mice", "the rhine is long and storks build nests", "may"]
        for vector, text in zip(await embedder.embed(texts), texts, strict=True):
            states = cross_encoder.states(text)
            pooled = states[0] if first_token else states.mean(axis=0)
            assert vector == pytest.approx(pooled / np.linalg.norm(pooled), abs=1e-5)
        wrong = await embedders.of(EmbeddingsSpec(provider="onnx", model=str(folder), dimension=8))
        with pytest.raises(InvalidInput, match="makes vectors of 16, declared are 8; write 16"):
            await wrong.embed(["owls"])
        (folder / "tokenizer.json").unlink()
        with pytest.raises(NotFound, match=r"holds no tokenizer\.json"):
            await wrong.check()


@pytest.mark.usefixtures("sentence_transformers")
class TestSentenceTransformers(EmbedderContract):
    @pytest.fixture
    async def embedder(self, tmp_path: Path) -> AsyncGenerator[Embedder]:
        async with opened(tmp_path) as embedders:
            yield await embedders.of(EmbeddingsSpec(provider="sentence_transformers", model="own/model"))


@pytest.mark.usefixtures("sentence_transformers")
async def test_a_model_of_sentence_transformers_is_loaded_by_its_first_use(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        declared = await embedders.of(EmbeddingsSpec(model="own/model", dimension=3))
        assert await declared.check() == "LoadedOnFirstUse"
        import sentence_transformers

        loaded = cast("list[str]", vars(sentence_transformers)["LOADED"])
        assert loaded == []
        assert (await declared.embed([f"text {number}" for number in range(100)])).shape == (100, 3)
        asked = await embedders.of(EmbeddingsSpec(model="other/model"))
        assert (asked.dimension, asked.name) == (3, "sentence_transformers:other/model")
        assert loaded == ["own/model", "other/model"]


@pytest.mark.usefixtures("sentence_transformers")
async def test_a_model_that_is_not_there_or_other_than_declared_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        gone = await embedders.of(EmbeddingsSpec(model="gone/model", dimension=3))
        with pytest.raises(Unavailable, match=r"sentence_transformers:gone/model: OSError \(gone/model is not"):
            await gone.embed(["one"])
        with pytest.raises(Unavailable, match="OSError"):
            await embedders.of(EmbeddingsSpec(model="gone/model"))
        longer = await embedders.of(EmbeddingsSpec(model="own/model", dimension=4))
        with pytest.raises(InvalidInput, match="makes vectors of 3, declared are 4; write 3"):
            await longer.embed(["one"])


async def test_a_model_that_needs_an_extra_names_the_command_that_installs_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as embedders:
        with pytest.raises(NotSupported, match=r"pip install 'astromesh\[torch\]'"):
            await embedders.of(EmbeddingsSpec(model="own/model"))
        with pytest.raises(NotFound, match=r"there is no folder .*/models/own/model"):
            await embedders.of(EmbeddingsSpec(provider="onnx", model="own/model"))
        with pytest.raises(NotFound):
            await embedders.of(EmbeddingsSpec(provider="onnx", model="../own"))


@pytest.mark.usefixtures("sentence_transformers")
@pytest.mark.parametrize(
    ("gpu", "provider", "served"),
    [
        (True, "sentence_transformers", "TorchEmbedder"),
        (True, "onnx", "BuiltInEmbedder"),
        (False, "sentence_transformers", "BuiltInEmbedder"),
    ],
)
async def test_minilm_is_served_by_onnx_but_where_there_is_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, provider: str, served: str
) -> None:
    monkeypatch.setattr(torch_model, "_cuda_is_available", lambda: gpu)
    async with opened(tmp_path) as embedders:
        embedder = await embedders.of(EmbeddingsSpec(provider=provider))
        assert (embedder.name, embedder.dimension) == ("all-MiniLM-L6-v2", 384)
        shared = vars(embedder)["_embedder"]
        assert isinstance(shared, RecentEmbedder)
        assert type(shared.embedder).__name__ == served
