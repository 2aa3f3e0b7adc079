"""The process's one model of a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from astromesh_core.errors import Unavailable
from astromesh_vectors.minilm.shared import SharedMiniLM
from astromesh_vectors.ports import Embedder


async def test_the_model_stays_for_those_who_still_use_it(tmp_path: Path) -> None:
    first, second = SharedMiniLM(tmp_path), SharedMiniLM(tmp_path)
    users: list[Embedder] = [first, second]
    assert len({user.name for user in users}) == 1
    assert (await first.embed(["one"])).shape == (1, 384)
    await first.close()
    await first.close()
    with pytest.raises(Unavailable, match="closed"):
        await first.embed(["two"])
    assert (await second.embed(["three"])).shape == (1, 384)
    await second.close()
    third = SharedMiniLM(tmp_path)
    assert (await third.embed(["four"])).shape == (1, 384)
    await third.close()
