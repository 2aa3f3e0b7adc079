"""The folder that ONNX Runtime loads: graph, weights and tokenizer side by side, built once per data folder.

Rules: a folder appears under its name only when it is whole (built aside, fsynced, renamed); one process builds at a
time; a folder whose manifest does not match its files is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from astromesh_vectors.minilm import graph
from astromesh_vectors.minilm.weights import TOKENIZER_FILE, WEIGHTS_FILE, find_model, read_header

GRAPH_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
FOLDER = f"all-MiniLM-L6-v2-r{graph.REVISION}"
BUILD_PREFIX = ".building-"


def prepare(models: Path) -> Path:
    """The whole model folder under `models`, built if it is absent or damaged. Blocks; safe among processes.

    Raises NotSupported when it must be built and the weights are not installed.
    """
    folder = models / FOLDER
    if is_whole(folder):
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with _only_builder(models):
        if not is_whole(folder):
            _build(models, folder)
    return folder


def is_whole(folder: Path) -> bool:
    """True when every file is there as the manifest says: the weights by size, the small files by content."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        return manifest == _fingerprints(folder)
    except (OSError, ValueError):
        return False


@contextmanager
def _only_builder(models: Path) -> Generator[None]:
    """Holds the build lock of the folder. The kernel gives it back when its holder dies."""
    with (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(models: Path, folder: Path) -> None:
    source = find_model()
    for abandoned in models.glob(f"{BUILD_PREFIX}*"):
        shutil.rmtree(abandoned)
    aside = Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=models))
    _link_or_copy(source / WEIGHTS_FILE, aside / WEIGHTS_FILE)
    shutil.copyfile(source / TOKENIZER_FILE, aside / TOKENIZER_FILE)
    (aside / GRAPH_FILE).write_bytes(graph.build(read_header(aside / WEIGHTS_FILE), WEIGHTS_FILE))
    (aside / MANIFEST_FILE).write_text(json.dumps(_fingerprints(aside)))
    for path in (*aside.iterdir(), aside):
        _sync(path)
    if folder.exists():
        folder.rename(Path(tempfile.mkdtemp(prefix=BUILD_PREFIX, dir=models)) / "damaged")
    aside.rename(folder)
    _sync(models)


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link costs no disk; a copy stands in where none can be. ONNX Runtime refuses symbolic links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _fingerprints(folder: Path) -> dict[str, str]:
    small = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (GRAPH_FILE, TOKENIZER_FILE)}
    return {**small, WEIGHTS_FILE: str((folder / WEIGHTS_FILE).stat().st_size)}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
