"""A store as a user writes one, under the contract that is shipped for it, and behind what the services hold of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from astromesh_core.user_code.modules import Modules
from astromesh_testing.contracts.vector_store import Opener, VectorStoreContract
from astromesh_vectors.own_classes import OwnClasses
from astromesh_vectors.own_store import Making, OwnStore
from astromesh_vectors.ports import VectorStore

from .own_store import Mine


class TestMine(VectorStoreContract):
    shared = False
    most_passages = 5_000

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        def open_store(*, model: str, dimension: int) -> Mine:
            return Mine(
                collection="c", model=model, dimension=dimension, folder=tmp_path, url="", api_key="", parameters={}
            )

        return open_store


class TestMineAsServicesHoldIt(VectorStoreContract):
    shared = False
    most_passages = 5_000

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        classes = OwnClasses(Modules(Path(__file__).parent))

        def open_store(*, model: str, dimension: int) -> VectorStore:
            return OwnStore("own_store:Mine", classes, Making("c", model, dimension, tmp_path, "", "", {}))

        return open_store


def test_it_is_one_without_inheriting_anything(tmp_path: Path) -> None:
    store = Mine(collection="c", model="m", dimension=4, folder=tmp_path, url="", api_key="", parameters={})
    assert isinstance(store, VectorStore)


def test_it_is_the_one_that_the_documentation_shows() -> None:
    here = Path(__file__)
    page = here.parents[3] / "docs" / "vector-stores.md"
    assert here.with_name("own_store.py").read_text() in page.read_text()
