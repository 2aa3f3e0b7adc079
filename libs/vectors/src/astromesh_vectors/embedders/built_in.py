"""The model that ships with Astromesh, as services see it."""

from __future__ import annotations

import asyncio

from astromesh_vectors.minilm.shared import SharedMiniLM
from astromesh_vectors.minilm.weights import find_model


class BuiltInEmbedder(SharedMiniLM):
    """all-MiniLM-L6-v2 on ONNX Runtime, loaded by the first text."""

    async def check(self) -> str:
        """See ServedEmbedder. Raises NotSupported where the weights are not installed."""
        await asyncio.to_thread(find_model)
        return "LoadedOnFirstUse"
