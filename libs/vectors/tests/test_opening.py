"""The one factory: what a resource declares is what is opened, secrets included, and a user's own class too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from astromesh_core.errors import InvalidInput, NotSupported, Unavailable
from astromesh_core.filters import Equals
from astromesh_core.resources.rag_pipeline import VectorStore as Declared
from astromesh_core.resources.stores import StorePlace
from astromesh_core.user_code.modules import Modules
from astromesh_testing.chroma import ChromaServer, chroma_server
from astromesh_testing.contracts.vector_store import EAST, found, write
from astromesh_vectors.opening import Collection, Stores
from astromesh_vectors.ports import VectorStore

OWN = Path(__file__).with_name("own_store.py")
BROKEN = """

class Broken(Mine):
    def __init__(self, *, url, api_key, **others):
        self.said = f"no answer to {api_key} of {url}"

    async def count(self):
        raise OSError(self.said)
"""


def collection(name: str = "rag/default/docs", dimension: int = 4) -> Collection:
    return Collection(name, "compass", dimension)


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    folder = tmp_path / "config" / "stores"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(OWN.read_text() + BROKEN)
    opened = Modules(folder)
    yield opened
    opened.close()


@pytest.fixture
def stores(tmp_path: Path, modules: Modules) -> Iterator[Stores]:
    opened = Stores(tmp_path / "data", modules, {"STORE_KEY": "s3cret"})
    yield opened
    opened.close()


def place(text: str) -> StorePlace:
    return Declared.model_validate_json(text).place


async def works(store: VectorStore) -> None:
    assert await write(store, "a", "one", "two") is True
    assert await found(store, EAST, where=Equals("version", "1")) == ["one", "two"]
    await store.close()


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ('{"backend": "faiss"}', "rag/default/docs/passages.sqlite3"),
        ('{"backend": "faiss", "persist_directory": "kept"}', "kept/rag/default/docs/passages.sqlite3"),
        ('{"backend": "qdrant", "distanceMetric": "dot"}', "rag/default/docs/qdrant/meta.json"),
        ('{"backend": "chromadb", "persistDirectory": "kept"}', "kept/rag/default/docs/chroma/chroma.sqlite3"),
        ('{"backend": "chroma", "distance_metric": "l2"}', "rag/default/docs/chroma/chroma.sqlite3"),
        ('{"backend": "mine:Mine", "parameters": {"file": "all.json"}}', "rag/default/docs/all.json"),
    ],
)
async def test_what_is_declared_is_opened_in_its_folder(
    stores: Stores, tmp_path: Path, declared: str, expected: str
) -> None:
    await works(stores.open(place(declared), collection()))
    assert (tmp_path / "data" / expected).exists()


async def test_a_server_is_reached_by_its_url_or_its_host_and_port(stores: Stores) -> None:
    with chroma_server() as server:
        for number, declared in enumerate(
            (
                f'{{"backend": "chroma", "url": "{server.url}", "api_key": "${{STORE_KEY}}"}}',
                f'{{"backend": "chroma", "host": "127.0.0.1", "port": {server.port}}}',
                f'{{"backend": "chroma", "connection": {{"host": "127.0.0.1", "port": {server.port}}}}}',
            )
        ):
            await works(stores.open(place(declared), collection(f"rag/default/docs{number}")))


async def test_a_store_that_is_away_is_unavailable_and_comes_back(stores: Stores) -> None:
    server = ChromaServer()
    try:
        store = stores.open(place(f'{{"backend": "chroma", "url": "{server.url}"}}'), collection())
        with pytest.raises(Unavailable, match="chroma collection rag-default-docs"):
            await store.count()
        server.start()
        assert await write(store, "a", "one") is True
        server.stop()
        with pytest.raises(Unavailable, match="cannot be used"):
            await found(store)
        server.start()
        assert await found(store) == ["one"]
        await store.close()
    finally:
        server.close()


async def test_qdrant_that_is_away_is_unavailable(stores: Stores) -> None:
    store = stores.open(place('{"backend": "qdrant", "url": "http://127.0.0.1:9"}'), collection())
    with pytest.raises(Unavailable, match="qdrant collection"):
        await store.count()
    await store.close()


async def test_meshes_that_share_a_server_keep_their_collections_apart(
    tmp_path: Path, modules: Modules, postgres: str
) -> None:
    declared = place('{"backend": "pgvector", "dsn": "${DSN}"}')

    def opened(mesh: str) -> VectorStore:
        return Stores(tmp_path, modules, {"DSN": postgres}, mesh).open(declared, collection())

    ours, replica, theirs = opened("a" * 64), opened("a" * 64), opened("b" * 64)
    await write(ours, "a", "one")
    assert (await replica.count(), await theirs.count()) == (1, 0)
    for store in (ours, replica, theirs):
        await store.close()


async def test_two_collections_never_meet(stores: Stores) -> None:
    names = [
        "rag/default/docs",
        "rag/default-docs",
        "rag/default/Docs",
        "memory/default/docs",
        "rag/default/" + "x" * 90,
    ]
    assert len({collection(name).server_name for name in names}) == len(names)
    assert all(3 <= len(collection(name).server_name) <= 48 for name in names)


async def test_nobody_else_may_name_a_folder_outside(stores: Stores, tmp_path: Path) -> None:
    for path in ("/etc/vectors", "../elsewhere"):
        with pytest.raises(InvalidInput, match="outside the mesh's data folder"):
            stores.open(StorePlace("faiss", path=path), collection(), confined=True)
    await works(stores.open(StorePlace("faiss", path=str(tmp_path / "out")), collection()))


async def test_a_missing_variable_or_class_is_named(stores: Stores) -> None:
    with pytest.raises(InvalidInput, match="NOT_THERE"):
        stores.open(place('{"backend": "qdrant", "url": "http://q:6333", "api_key": "${NOT_THERE}"}'), collection())
    with pytest.raises(NotSupported, match="secretKeyRef"):
        stores.open(
            place('{"backend": "qdrant", "connection": {"secretKeyRef": {"name": "a", "key": "b"}}}'), collection()
        )
    for path, reason in (("mine:Other", "does not exist"), ("nowhere:Mine", "cannot be imported")):
        with pytest.raises(InvalidInput, match=reason):
            await stores.open(StorePlace(path), collection()).count()


async def test_a_class_that_is_no_store_is_refused(stores: Stores, modules: Modules, tmp_path: Path) -> None:
    (tmp_path / "config" / "stores" / "half.py").write_text(
        "class Half:\n    def __init__(self, **settings): pass\n    async def count(self): return 'many'\n"
    )
    with pytest.raises(InvalidInput, match="has no put, no remove"):
        await stores.open(StorePlace("half:Half"), collection()).count()


async def test_what_an_own_store_raises_names_it_and_hides_its_key(stores: Stores, tmp_path: Path) -> None:
    store = stores.open(
        place('{"backend": "mine:Broken", "url": "http://there", "api_key": "${STORE_KEY}"}'), collection()
    )
    with pytest.raises(Unavailable, match=r"mine:Broken: raised OSError \(no answer to \[key\] of http://there\)"):
        await store.count()
    await store.close()
