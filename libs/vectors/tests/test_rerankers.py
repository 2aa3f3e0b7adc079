"""Rerankers: the cross-encoder on ONNX Runtime and on sentence-transformers, Cohere, and users' own classes."""

from __future__ import annotations

import asyncio
import math
import re
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from astromesh_core.errors import (
    AstromeshError,
    Denied,
    InvalidInput,
    NotFound,
    NotSupported,
    TimedOut,
    Unavailable,
)
from astromesh_core.resources.loading import load_text
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.reranking import Reranking
from astromesh_core.user_code.modules import Modules
from astromesh_testing.contracts.reranker import QUESTION, TEXTS, Reranker, RerankerContract
from astromesh_testing.models import cross_encoder
from astromesh_testing.models.cohere import KEY, CohereServer
from astromesh_testing.models.replies import Drop, Hang, Refusal, Rubbish
from astromesh_vectors.remote import server
from astromesh_vectors.rerankers import opening
from astromesh_vectors.rerankers.opening import Rerankers
from astromesh_vectors.rerankers.protocol import RerankerProtocol

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "retrieval.md"
ENVIRON = {"COHERE_API_KEY": KEY, "OTHER": "other-secret"}


@pytest.fixture(autouse=True)
def without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE", 0.01)


@asynccontextmanager
async def opened(folder: Path, environ: Mapping[str, str] = ENVIRON) -> AsyncGenerator[Rerankers]:
    modules = Modules(folder / "rerankers")
    rerankers = Rerankers(folder / "models", modules, environ)
    try:
        yield rerankers
    finally:
        await rerankers.close()
        modules.close()


def declared(**fields: object) -> Reranking:
    return Reranking.model_validate({"enabled": True, **fields})


class TestOnnx(RerankerContract):
    @pytest.fixture
    async def reranker(self, tmp_path: Path) -> AsyncGenerator[Reranker]:
        cross_encoder.write(tmp_path / "models" / "own" / "tiny")
        async with opened(tmp_path) as rerankers:
            yield await rerankers.of(declared(model="own/tiny"))


class TestOnnxOfTwoLabels(RerankerContract):
    @pytest.fixture
    async def reranker(self, tmp_path: Path) -> AsyncGenerator[Reranker]:
        async with opened(tmp_path) as rerankers:
            yield await rerankers.of(declared(model=str(cross_encoder.write(tmp_path / "two", labels=2))))


class TestCohere(RerankerContract):
    @pytest.fixture
    async def reranker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Reranker]:
        async with CohereServer() as fake, opened(tmp_path) as rerankers:
            monkeypatch.setattr(opening, "COHERE", fake.url)
            yield await rerankers.of(declared(provider="cohere"))


async def test_a_cross_encoder_scores_as_its_weights_have_it(tmp_path: Path) -> None:
    folder = cross_encoder.write(tmp_path / "models" / "tiny")
    async with opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(model="tiny"))
        assert await reranker.check() == "LoadedOnFirstUse"
        texts = [*TEXTS, "mice", "storks hunt the invoice in may at night"]
        scores = await reranker.scores(QUESTION, texts)
        expected = [1 / (1 + math.exp(-cross_encoder.scored(QUESTION, text))) for text in texts]
        assert scores == pytest.approx(expected, abs=1e-5)
        assert await rerankers.of(declared(model="tiny", top_k=3)) is reranker
        assert await rerankers.of(declared(model=str(folder))) is not reranker


@pytest.mark.parametrize(
    ("damage", "kind", "told"),
    [
        ("model.onnx", NotFound, "holds no model.onnx"),
        ("tokenizer.json", NotFound, "holds no tokenizer.json"),
        ("rubbish graph", InvalidInput, "no graph that ONNX Runtime can load"),
        ("rubbish tokenizer", InvalidInput, "is no tokenizer"),
    ],
)
async def test_a_folder_that_is_no_cross_encoder_says_why(
    tmp_path: Path, damage: str, kind: type[AstromeshError], told: str
) -> None:
    folder = cross_encoder.write(tmp_path / "models" / "tiny")
    if damage.startswith("rubbish"):
        name = "model.onnx" if damage.endswith("graph") else "tokenizer.json"
        (folder / name).write_bytes(b"rubbish")
    else:
        (folder / damage).unlink()
    async with opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(model="tiny"))
        with pytest.raises(kind, match=told):
            await reranker.scores(QUESTION, TEXTS)


async def test_a_model_that_is_nowhere_says_where_it_may_be(tmp_path: Path) -> None:
    async with opened(tmp_path) as rerankers:
        with pytest.raises(NotSupported, match=r"no folder .*models/cross-encoder/ms-marco-MiniLM-L-6-v2 .*\[torch\]"):
            await rerankers.of(declared())
        with pytest.raises(NotSupported):
            await rerankers.of(declared(model="../outside"))


async def test_cohere_is_asked_as_its_api_says(tmp_path: Path) -> None:
    async with CohereServer() as fake, opened(tmp_path, {"MINE": KEY}) as rerankers:
        spec = declared(provider="cohere", endpoint=fake.url, api_key="${MINE}", model="rerank-x")
        reranker = await rerankers.of(spec)
        assert await reranker.scores("owls hunt", ["the rhine", "owls hunt mice"]) == [0.0, pytest.approx(2 / 3)]
        assert fake.requests == [
            {"model": "rerank-x", "query": "owls hunt", "documents": ["the rhine", "owls hunt mice"], "top_n": 2}
        ]
        assert await reranker.check() == "Answered"


@pytest.mark.parametrize(
    ("faults", "kind", "told"),
    [
        ([Refusal(401, "invalid other-secret")], Denied, r"answered 401; check \$\{OTHER\}"),
        ([Refusal(400, "no such model other-secret")], InvalidInput, r"no such model \[key\]"),
        ([Refusal(500, "oops")] * 4, Unavailable, "oops"),
        ([Rubbish(b'{"results": [{"index": 0}]}')] * 1, Unavailable, "no score for each text"),
        ([Rubbish(b"[]")], Unavailable, "no score for each text"),
        ([Drop()] * 4, Unavailable, "broke the connection"),
        ([Hang()] * 4, TimedOut, "no answer within"),
    ],
)
async def test_a_reranker_that_fails_is_named_and_never_left_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: list[Refusal | Rubbish | Drop | Hang],
    kind: type[AstromeshError],
    told: str,
) -> None:
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.1)
    async with CohereServer(*faults) as fake, opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(provider="cohere", endpoint=fake.url, api_key="${OTHER}"))
        with pytest.raises(kind, match=told) as raised:
            await reranker.scores("q", ["a", "b"])
        assert raised.value.message.startswith(f"cohere at {fake.url}: ")
        assert "other-secret" not in raised.value.message


async def test_who_leaves_stops_the_asking(tmp_path: Path) -> None:
    async with CohereServer(Hang()) as fake, opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(provider="cohere", endpoint=fake.url, api_key="${OTHER}"))
        asking = asyncio.create_task(reranker.scores("q", ["a"]))
        await fake.asked()
        asking.cancel()
        await fake.departed()
        await asyncio.wait([asking])


async def test_cohere_without_a_key_says_which_variable_it_wants(tmp_path: Path) -> None:
    async with opened(tmp_path, {}) as rerankers:
        with pytest.raises(InvalidInput, match="set COHERE_API_KEY"):
            await rerankers.of(declared(provider="cohere"))


OWN = """
class Short:
    def __init__(self, *, model, endpoint, api_key):
        self.asked = model, endpoint, api_key

    async def scores(self, query, texts):
        return [-float(len(text)) for text in texts]


class Wrong(Short):
    async def scores(self, query, texts):
        return [1.0]


class Words(Short):
    async def scores(self, query, texts):
        return ["good"] * len(texts)


class Failing(Short):
    async def scores(self, query, texts):
        raise KeyError(self.asked[2])


class Useless:
    def __init__(self, **given):
        pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "rerankers").mkdir()
    (tmp_path / "rerankers" / "own.py").write_text(OWN)
    return tmp_path


class TestOwn(RerankerContract):
    @pytest.fixture
    async def reranker(self, own: Path) -> AsyncGenerator[Reranker]:
        async with opened(own) as rerankers:
            yield await rerankers.of(declared(provider="own:Short"))


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("Wrong", InvalidInput, "answers 1 numbers for 2 texts"),
        ("Words", InvalidInput, "no list of numbers"),
        ("Failing", Unavailable, r"raised KeyError \('\[key\]'\)"),
    ],
)
async def test_what_a_class_does_wrong_names_it(own: Path, name: str, kind: type[AstromeshError], told: str) -> None:
    async with opened(own) as rerankers:
        reranker = await rerankers.of(declared(provider=f"own:{name}", api_key="${OTHER}"))
        with pytest.raises(kind, match=f"own:{name}: .*{told}"):
            await reranker.scores("q", ["a", "b"])


async def test_a_class_that_cannot_be_used_says_why(own: Path) -> None:
    async with opened(own) as rerankers:
        with pytest.raises(InvalidInput, match="own:Useless: has no scores"):
            await rerankers.of(declared(provider="own:Useless"))


async def test_the_reranker_of_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n# config/rerankers/(?:\w+)\.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "rerankers").mkdir()
    (tmp_path / "rerankers" / "shared_words.py").write_text(example)
    async with opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(provider="shared_words:SharedWords"))
        suite = RerankerContract()
        for name in dir(suite):
            if name.startswith("test_"):
                await getattr(suite, name)(reranker)
        assert isinstance(reranker, RerankerProtocol)


SENTENCE_TRANSFORMERS = """
import numpy as np


class CrossEncoder:
    def __init__(self, model_name_or_path, device=None):
        if model_name_or_path == "gone/model":
            raise OSError("gone/model is not a local folder")

    def predict(self, sentences, batch_size=32, show_progress_bar=None, activation_fn=None, convert_to_numpy=True):
        assert show_progress_bar is False and convert_to_numpy and len(sentences) <= batch_size
        return activation_fn(np.array([len(set(q.split()) & set(t.split())) for q, t in sentences], dtype=np.float32))
"""
TORCH_NN = """
import numpy as np


class Sigmoid:
    def __call__(self, values):
        return 1 / (1 + np.exp(-values))
"""


@pytest.fixture
def sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """A package with the documented interface on the path."""
    folder = tmp_path / "packages"
    (folder / "torch").mkdir(parents=True)
    (folder / "sentence_transformers.py").write_text(SENTENCE_TRANSFORMERS)
    (folder / "torch" / "__init__.py").write_text("")
    (folder / "torch" / "nn.py").write_text(TORCH_NN)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield
    for name in ("sentence_transformers", "torch", "torch.nn"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("sentence_transformers")
class TestSentenceTransformers(RerankerContract):
    @pytest.fixture
    async def reranker(self, tmp_path: Path) -> AsyncGenerator[Reranker]:
        async with opened(tmp_path) as rerankers:
            yield await rerankers.of(declared(model="some/model"))


@pytest.mark.usefixtures("sentence_transformers")
async def test_a_model_of_the_hub_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as rerankers:
        reranker = await rerankers.of(declared(model="gone/model"))
        assert await reranker.check() == "LoadedOnFirstUse"
        with pytest.raises(Unavailable, match=r"cross_encoder gone/model: OSError \(gone/model is not"):
            await reranker.scores("q", ["a"])


YAML = """
apiVersion: astromesh/v1
kind: RAGPipeline
metadata: {{name: docs}}
spec:
  reranking: {}
"""


@pytest.mark.parametrize(
    ("written", "provider", "model"),
    [
        ("{enabled: true}", "cross_encoder", "cross-encoder/ms-marco-MiniLM-L-6-v2"),
        ("{enabled: true, model: cross-encoder, topK: 5}", "cross_encoder", "cross-encoder/ms-marco-MiniLM-L-6-v2"),
        ("{enabled: true, model: cohere}", "cohere", "rerank-v4.0-fast"),
        ("{enabled: true, provider: cohere, model: rerank-english-v3.0}", "cohere", "rerank-english-v3.0"),
        ("{enabled: true, model: own/tiny}", "cross_encoder", "own/tiny"),
        ("{enabled: true, provider: 'a.b:C'}", "a.b:C", "C"),
    ],
)
def test_each_provider_has_a_model_of_its_own(written: str, provider: str, model: str) -> None:
    loaded = load_text(YAML.format(written), "docs.rag.yaml")
    assert loaded.problems == ()
    spec = loaded.resources[0].spec
    assert isinstance(spec, RAGPipelineSpec)
    assert (spec.reranking.provider, spec.reranking.model) == (provider, model)
    assert Reranking.from_json(spec.reranking.to_json()) == spec.reranking


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{enabled: true, endpoint: 'http://e'}", "a cross_encoder runs in this process and has no endpoint"),
        ("{enabled: true, api_key: '${KEY}'}", "has no api_key"),
        ("{enabled: true, provider: coheer}", "did you mean 'cohere'"),
        ("{enabled: true, top_k: 0}", "top_k"),
        ("{enabled: true, provider: cohere, api_key: abc}", "a resource holds only references"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(written: str, reason: str) -> None:
    (problem,) = load_text(YAML.format(written), "docs.rag.yaml").problems
    assert str(problem).startswith("docs.rag.yaml:6: spec.reranking")
    assert reason in str(problem)
