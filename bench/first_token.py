"""How much later the first token comes through gateway, bus and runtime than from the model itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import mesh
from figures import Figure
from load import Load, generate
from processes import stub_model

SCENARIO = "First token, one caller"
REQUESTS = 500


def measure(share: float) -> Iterator[Figure]:
    """The model alone, the mesh in front of it, and the difference."""
    requests = max(50, int(REQUESTS * share))
    with tempfile.TemporaryDirectory() as made, stub_model(Path(made)) as endpoint:
        port = urlsplit(endpoint).port or 0
        asked = {"model": "stub-1", "messages": "[]", "stream": "true"}
        direct = generate(
            Load(port, "/v1/chat/completions", 1, requests, "", first='"content":', body=asked, session="")
        )
        with mesh.mesh(endpoint) as running:
            through = generate(
                Load(running.port, running.path(mesh.NO_TOOL), 1, requests, "event: done", first="event: token")
            )
    yield Figure(SCENARIO, "from the model itself, p50", "stub model", f"{direct.at(0.5):.2f} ms")
    yield Figure(SCENARIO, "through the mesh, p50", mesh.NAME, f"{through.at(0.5):.2f} ms")
    over = through.at(0.5) - direct.at(0.5)
    yield Figure(SCENARIO, "over the model's own, p50", mesh.NAME, f"{over:.2f} ms", "≤ 5 ms")
    yield Figure(SCENARIO, "over the model's own, p95", mesh.NAME, f"{through.at(0.95) - direct.at(0.95):.2f} ms")
