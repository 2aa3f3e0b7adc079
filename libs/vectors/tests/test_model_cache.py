"""The cached model folder: whole or built anew, whoever races and whatever died."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from astromesh_core.errors import NotSupported
from astromesh_vectors.minilm import graph
from astromesh_vectors.minilm.cache import BUILD_PREFIX, GRAPH_FILE, is_whole, prepare
from astromesh_vectors.minilm.weights import WEIGHTS_FILE, find_model, read_header

PREPARE = (
    "import sys, pathlib; from astromesh_vectors.minilm.cache import prepare; print(prepare(pathlib.Path(sys.argv[1])))"
)


def left_behind(models: Path) -> list[Path]:
    return list(models.glob(f"{BUILD_PREFIX}*"))


def test_builds_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = prepare(tmp_path)
    built = (folder / GRAPH_FILE).stat().st_mtime_ns
    assert prepare(tmp_path) == folder
    assert (folder / GRAPH_FILE).stat().st_mtime_ns == built
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("name", [GRAPH_FILE, WEIGHTS_FILE, "tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_cache_is_built_anew(tmp_path: Path, name: str, damage: str) -> None:
    file = prepare(tmp_path) / name
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    assert not is_whole(file.parent)
    assert is_whole(prepare(tmp_path))
    assert file.read_bytes() == content


def test_the_installed_weights_are_linked_not_changed(tmp_path: Path) -> None:
    weights = prepare(tmp_path) / WEIGHTS_FILE
    assert weights.stat().st_size == (find_model() / WEIGHTS_FILE).stat().st_size
    assert not weights.is_symlink()


def test_what_a_killed_builder_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / f"{BUILD_PREFIX}dead").mkdir()
    (tmp_path / f"{BUILD_PREFIX}dead" / GRAPH_FILE).write_bytes(b"half")
    assert is_whole(prepare(tmp_path))
    assert not left_behind(tmp_path)


def test_processes_that_race_share_one_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) for _ in range(3)]
    folders = {racer.communicate()[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert len(folders) == 1
    assert is_whole(prepare(tmp_path))


def test_weights_of_another_model_are_refused() -> None:
    tensors = read_header(find_model() / WEIGHTS_FILE)
    del tensors["embeddings.LayerNorm.bias"]
    with pytest.raises(NotSupported, match=r"embeddings\.LayerNorm\.bias"):
        graph.build(tensors, WEIGHTS_FILE)


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 16, b"\x04" + b"\0" * 7 + b"{{{{"])
def test_a_damaged_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / WEIGHTS_FILE
    file.write_bytes(content)
    with pytest.raises(NotSupported, match="damaged"):
        read_header(file)
