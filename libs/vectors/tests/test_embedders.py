"""Embedders as resources declare them: which one is opened, who shares it, and users' own classes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pytest

from astromesh_core.errors import AstromeshError, Denied, InvalidInput, RateLimited, Unavailable
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_testing.contracts.embedder import Embedder, EmbedderContract
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.embedders.opening import Embedders
from astromesh_vectors.embedders.protocol import EmbedderProtocol

ENVIRON: Mapping[str, str] = {"KEY": "s3cret-key"}

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "embeddings.md"

OWN = '''
from astromesh_core.errors import Denied, RateLimited


class Letters:
    """Counts letters."""

    made = []

    def __init__(self, *, model, endpoint, api_key, dimension):
        self.asked = model, endpoint, api_key, dimension
        self.dimension = 27
        self.closed = False
        self.calls = []
        Letters.made.append(self)

    async def embed(self, texts):
        self.calls.append(len(texts))
        rows = [[1.0] + [float(text.lower().count(chr(97 + n))) for n in range(26)] for text in texts]
        return rows

    async def close(self):
        self.closed = True


class Short(Letters):
    async def embed(self, texts):
        return [[1.0, 2.0] for _ in texts]


class Ragged(Letters):
    async def embed(self, texts):
        return [[1.0] * (n + 1) for n, _ in enumerate(texts + texts)]


class Zero(Letters):
    async def embed(self, texts):
        return [[0.0] * 27 for _ in texts]


class Failing(Letters):
    async def embed(self, texts):
        raise RuntimeError(f"the key {self.asked[2]} is bad")


class Refusing(Letters):
    async def embed(self, texts):
        raise Denied("not you")


class Busy(Letters):
    async def embed(self, texts):
        raise RateLimited("later", retry_after=7.0)


class Unmade(Letters):
    def __init__(self, **given):
        raise ValueError("no licence")


class Dimensionless:
    def __init__(self, **given):
        self.dimension = "many"

    async def embed(self, texts):
        return []


class Useless:
    def __init__(self, **given):
        pass
'''


@asynccontextmanager
async def opened(folder: Path, environ: Mapping[str, str] = ENVIRON) -> AsyncGenerator[Embedders]:
    modules = Modules(folder / "config" / "embedders")
    embedders = Embedders(folder / "data", modules, environ)
    try:
        yield embedders
    finally:
        await embedders.close()
        modules.close()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A data folder beside a config folder whose `embedders/` holds `own.py`."""
    folder = tmp_path / "config" / "embedders"
    folder.mkdir(parents=True)
    (folder / "own.py").write_text(OWN)
    return tmp_path


def named(name: str, **fields: object) -> EmbeddingsSpec:
    return EmbeddingsSpec.model_validate({"provider": f"own:{name}", **fields})


class TestBuiltIn(EmbedderContract):
    @pytest.fixture
    async def embedder(self, tmp_path: Path) -> AsyncGenerator[Embedder]:
        async with opened(tmp_path) as embedders:
            yield await embedders.of(EmbeddingsSpec())


class TestRemembering(EmbedderContract):
    @pytest.fixture
    async def embedder(self, tmp_path: Path) -> AsyncGenerator[Embedder]:
        async with opened(tmp_path) as embedders:
            yield (await embedders.of(EmbeddingsSpec(provider="onnx"))).remembering


class TestOwn(EmbedderContract):
    @pytest.fixture
    async def embedder(self, own: Path) -> AsyncGenerator[Embedder]:
        async with opened(own) as embedders:
            yield await embedders.of(named("Letters"))


class TestFake(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return WordEmbedder(256)


async def test_equal_declarations_share_one_embedder_among_services(own: Path) -> None:
    async with opened(own) as rag:
        async with opened(own) as memory:
            first, again = await rag.of(named("Letters")), await rag.of(named("Letters"))
            assert first is again
            other, same = await memory.of(named("Letters", model="b")), await memory.of(named("Letters"))
            assert (first.name, other.name) == ("own:Letters/Letters", "own:Letters/b")
            assert same.dimension == 27
            made = made_of(rag, "Letters")
            assert len(made) == 1
        assert not made[0].closed
        assert len(await first.embed(["still there"])) == 1
    assert made[0].closed


class Made(Protocol):
    """What an object of the test's class notes."""

    asked: tuple[str, str, str, int | None]
    calls: list[int]
    closed: bool


def made_of(embedders: Embedders, name: str) -> list[Made]:
    found = embedders._classes._modules.find(f"own:{name}")  # pyright: ignore[reportPrivateUsage] - the test's own class
    return cast("list[Made]", vars(found)["made"])


async def test_a_question_of_a_moment_ago_is_embedded_once_for_all_services(own: Path) -> None:
    async with opened(own) as rag, opened(own) as memory:
        one, other = await rag.of(named("Letters")), await memory.of(named("Letters"))
        first = await one.embed(["who hunts?"])
        first[0, 0] = 7.0  # what a caller does to its vectors is its own affair
        again = await other.embed(["who hunts?"])
        (made,) = made_of(rag, "Letters")
        assert made.calls == [1]
        assert np.linalg.norm(again) == pytest.approx(1.0)
        for number in range(256):
            await one.embed([f"question {number}"])
        await other.embed(["who hunts?"])
        await other.embed(["x" * 3_000])
        await other.embed(["x" * 3_000])
        assert len(made.calls) == 1 + 256 + 1 + 2


async def test_a_service_that_stops_opens_no_more(own: Path) -> None:
    async with opened(own) as embedders:
        await embedders.close()
        with pytest.raises(Unavailable, match="stops"):
            await embedders.of(EmbeddingsSpec())


async def test_a_class_is_made_of_what_is_declared(own: Path) -> None:
    async with opened(own) as embedders:
        spec = named("Letters", model="m", endpoint="http://${KEY}.test", api_key="${KEY}", dimension=27)
        embedder = await embedders.of(spec)
        (made,) = made_of(embedders, "Letters")
        assert made.asked == ("m", "http://s3cret-key.test", "s3cret-key", 27)
        vectors = await embedder.embed([f"{number}" for number in range(70)])
        assert made.calls == [32, 32, 6]
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(70), abs=1e-6)
        assert await embedder.check() == "Answered"
        assert isinstance(made, EmbedderProtocol)


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("Short", InvalidInput, "answers 1x2 numbers where 1x27 are wanted"),
        ("Ragged", InvalidInput, "no table of numbers"),
        ("Zero", InvalidInput, "a vector is zero"),
        ("Failing", Unavailable, r"raised RuntimeError \(the key \[key\] is bad\)"),
        ("Refusing", Denied, "not you"),
        ("Busy", RateLimited, "later"),
    ],
)
async def test_what_a_class_does_wrong_names_it(own: Path, name: str, kind: type[AstromeshError], told: str) -> None:
    async with opened(own) as embedders:
        embedder = await embedders.of(named(name, api_key="${KEY}"))
        for ask in (embedder.check, lambda: embedder.embed(["one"])):
            with pytest.raises(kind, match=f"^own:{name}: .*{told}") as raised:
                await ask()
            assert raised.value.retry_after == (7.0 if name == "Busy" else None)


@pytest.mark.parametrize(
    ("provider", "kind", "told"),
    [
        ("own:Unmade", Unavailable, r"own:Unmade: raised ValueError \(no licence\)"),
        ("own:Useless", InvalidInput, "has no dimension, no embed"),
        ("own:Dimensionless", InvalidInput, "its dimension is 'many'"),
        ("own:Missing", InvalidInput, "Missing does not exist in .*own.py"),
        ("nowhere.at_all:Mine", InvalidInput, "the module nowhere.at_all cannot be imported"),
    ],
)
async def test_a_class_that_cannot_be_used_says_why(
    own: Path, provider: str, kind: type[AstromeshError], told: str
) -> None:
    async with opened(own) as embedders:
        for _ in range(2):
            with pytest.raises(kind, match=told):
                await embedders.of(EmbeddingsSpec(provider=provider))


async def test_the_embedder_of_the_guide_keeps_the_contract(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n# config/embedders/(?:\w+)\.py\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    folder = tmp_path / "config" / "embedders"
    folder.mkdir(parents=True)
    (folder / "hashing.py").write_text(example)
    async with opened(tmp_path) as embedders:
        embedder = await embedders.of(EmbeddingsSpec(provider="hashing:Hashing", dimension=64))
        suite = EmbedderContract()
        for name in dir(suite):
            if name.startswith("test_"):
                await getattr(suite, name)(embedder)


async def test_a_call_of_many_texts_leaves_the_event_loop_free(own: Path) -> None:
    async with opened(own) as embedders:
        embedder = await embedders.of(EmbeddingsSpec())
        await embedder.embed(["load the model"])
        embedding = asyncio.create_task(embedder.embed(["Owls hunt mice at night. " * 20] * 64))
        turns = 0
        while not embedding.done():  # the loop turns while the model works
            await asyncio.sleep(0.005)
            turns += 1
        assert turns > 10
