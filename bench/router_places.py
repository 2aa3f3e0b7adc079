"""Who stands between a caller and the model as a process of its own, on the measured core: our router, LiteLLM's
proxy."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
import yaml
from processes import cores, free_port, running, wait_until_answering, wait_until_listening
from rivals import NotMeasured, environment, last_line
from router_ways import MODEL, put_asking_agent

from astromesh_core.bus.connection import open_bus
from astromesh_core.bus.credentials import credentials_path, load_credentials
from astromesh_core.bus.permissions import MESH
from astromesh_core.mesh_secrets import mesh_token
from astromesh_core.settings import Settings

LITELLM = "LiteLLM proxy 1.106.2, one worker"
_LITELLM = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it looks for newer prices, and waits
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # else it does not start without a key
    "LITELLM_LOG": "ERROR",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A process that serves."""

    pid: int
    at: str
    """`host:port` of gRPC, or an HTTP endpoint."""
    token: str = ""


@contextmanager
def router(endpoint: str) -> Generator[Place]:
    """`astromesh serve router` with gRPC on loopback, on a bus of its own. Its agent asks the model at the endpoint."""
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder, rpc, nats = Path(made), free_port(), free_port()
        environ = {
            "ASTROMESH_DATA_DIR": str(folder / "data"),
            "ASTROMESH_CONFIG_DIR": str(folder / "config"),
            "ASTROMESH_RPC_ADDRESS": f"127.0.0.1:{rpc}",
            "ASTROMESH_NATS_PORT": str(nats),
            "ASTROMESH_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "astromesh_cli", "serve", "router"]
        with running(command, cores()[0], output=folder / "router.log", environment=environ) as process:
            try:
                wait_until_listening(rpc, process)
            except TimeoutError as error:
                raise RuntimeError(f"the router is not ready: {(folder / 'router.log').read_text()[-4000:]}") from error
            uvloop.run(_declare(f"nats://127.0.0.1:{nats}", folder / "data" / "nats" / "credentials", endpoint))
            yield Place(process.pid, f"127.0.0.1:{rpc}", mesh_token(Settings(data_dir=folder / "data")))


@contextmanager
def litellm(endpoint: str) -> Generator[Place]:
    """LiteLLM's proxy as its documentation starts it, without database or keys. Raises NotMeasured."""
    command = environment("rival_litellm", "python3.11", "python3.12", "python3.13").with_name("litellm")
    with tempfile.TemporaryDirectory(prefix="astromesh-bench-") as made:
        folder, port = Path(made), free_port()
        asked = {"model": f"openai/{MODEL}", "api_base": endpoint, "api_key": "none"}
        (folder / "config.yaml").write_text(
            yaml.safe_dump({"model_list": [{"model_name": MODEL, "litellm_params": asked}]})
        )
        where = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        whole = [str(command), "--config", str(folder / "config.yaml"), *where]
        with running(whole, cores()[0], output=folder / "log", environment=_LITELLM) as process:
            try:
                wait_until_answering(f"http://127.0.0.1:{port}/health/liveliness", process)
            except TimeoutError as error:
                raise NotMeasured(f"{error}: {last_line((folder / 'log').read_text())}") from None
            yield Place(process.pid, f"http://127.0.0.1:{port}/v1")


async def _declare(url: str, credentials: Path, endpoint: str) -> None:
    known = load_credentials(credentials_path(credentials, MESH))
    async with open_bus(url, service=MESH, credentials=known, name="bench") as bus:
        await put_asking_agent(bus, endpoint)
