"""Real runtimes and servers of models, with models that are written here. Run by `make test-models`; elsewhere, where
they are not installed, nothing of this folder is collected.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from astromesh_core.errors import NotSupported
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_router.app import open_calls
from astromesh_router.calls import Calls
from astromesh_testing.mesh import free_ports
from astromesh_vectors.ports import Embedder

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
INSTALLED = all(find_spec(name) for name in ("onnxruntime_genai", "llama_cpp", "gguf"))
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]

START_SECONDS = 60.0
WIDE_HEADS = 32


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models `tiny` and `wide`, which takes its time, and `tiny.gguf`."""
    folder = tmp_path_factory.mktemp("models")
    written("tiny_onnx.py", folder / "tiny", "2")
    written("tiny_onnx.py", folder / "wide", str(WIDE_HEADS))
    written("tiny_gguf.py", folder / "tiny.gguf")
    return folder


def written(script: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, SCRIPTS / script, *arguments], check=True, timeout=120)


@pytest.fixture(scope="session")
def llama_server(models: Path) -> Iterator[str]:
    """The endpoint of a llama-cpp-python server with the tiny model."""
    (port,) = free_ports(1)
    options = {"model": models / "tiny.gguf", "model_alias": "tiny", "host": "127.0.0.1", "port": port}
    options |= {"n_ctx": 1024, "n_threads": 1, "n_threads_batch": 1}
    named = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    log = models / "llama.log"
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", *named], stdout=output, stderr=output)
    try:
        await_server(server, f"http://127.0.0.1:{port}/v1/models", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait(20)


def await_server(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Returns when it answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url, timeout=2).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the server does not answer: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
async def calls(models: Path) -> AsyncIterator[Calls]:
    async with open_calls(no_embedder, {}, Telemetry(), models=models) as opened:
        yield opened


def no_embedder() -> Embedder:
    raise NotSupported("no weights here")
