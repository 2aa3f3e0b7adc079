"""Puts the adapters of sentence-transformers to their contracts with the real library. Run by its test.

python sentence_transformers_process.py SITE_PACKAGES FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_testing.contracts.embedder import EmbedderContract
from astromesh_testing.contracts.reranker import QUESTION, TEXTS
from astromesh_vectors.embedders.torch_model import open_torch
from astromesh_vectors.minilm.embedder import MiniLMEmbedder
from astromesh_vectors.minilm.weights import find_model
from astromesh_vectors.rerankers.torch_model import TorchReranker


async def embed(folder: Path) -> None:
    """Its MiniLM keeps the contract, and makes the vectors that ours makes."""
    theirs = await open_torch(EmbeddingsSpec(model=str(find_model())))
    ours, suite = MiniLMEmbedder(folder), EmbedderContract()
    for name in dir(suite):
        if name.startswith("test_"):
            await getattr(suite, name)(theirs)
    texts = ["Owls hunt.", "The Rhine is long. " * 40, ""]
    cosines = (await theirs.embed(texts) * await ours.embed(texts)).sum(axis=1)
    assert theirs.dimension == ours.dimension
    assert cosines.min() > 0.99999, cosines
    await theirs.close()
    await ours.close()


async def rerank(folder: Path) -> None:
    """A cross-encoder of random weights answers a score a pair, from 0 to 1, the same each time."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertForSequenceClassification(BertConfig(num_labels=1, **sizes)).save_pretrained(folder)
    BertTokenizerFast.from_pretrained(str(find_model())).save_pretrained(folder)
    reranker = TorchReranker(str(folder))
    scores = await reranker.scores(QUESTION, TEXTS)
    assert len(scores) == len(TEXTS)
    assert all(0 < score < 1 for score in scores)
    assert max(abs(a - b) for a, b in zip(scores, await reranker.scores(QUESTION, TEXTS), strict=True)) < 1e-6
    assert await reranker.scores(QUESTION, []) == []
    await reranker.close()


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    asyncio.run(embed(Path(sys.argv[2])))
    asyncio.run(rerank(Path(sys.argv[2]) / "cross-encoder"))
