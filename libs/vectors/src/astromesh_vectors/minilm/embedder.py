"""all-MiniLM-L6-v2 on ONNX Runtime: texts to unit vectors, without torch. Implements the port `Embedder`."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from astromesh_core.errors import Unavailable
from astromesh_vectors.minilm.batches import batches
from astromesh_vectors.minilm.cache import GRAPH_FILE, prepare
from astromesh_vectors.minilm.graph import ATTENTION_MASK, DIMENSION, EMBEDDING, INPUT_IDS
from astromesh_vectors.minilm.weights import TOKENIZER_FILE
from astromesh_vectors.worker import WorkerThread

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

    from astromesh_vectors.ports import Vectors

T = TypeVar("T")

MAX_TOKENS = 256
"""What the model was trained on; the rest of a longer text is not seen."""


class MiniLMEmbedder:
    """384 dimensions, English above all, fp32. The model is loaded by the first `embed`, in the embedder's own thread.

    `data` is the data folder (the model is cached in its `models/`); `threads` is how many cores one batch may use.
    With `rest_after`, the model is freed after so many seconds without a call: 70 MB, and a quarter of a second to load
    it again. Cancelling a call stops it after the batch that is running.
    """

    name = "all-MiniLM-L6-v2"
    dimension = DIMENSION

    def __init__(self, data: Path, *, threads: int = 1, rest_after: float | None = None) -> None:
        self._models = data / "models"
        self._threads = threads
        self._worker = WorkerThread("minilm")
        self._model: _Model | None = None
        self._rest_after = rest_after
        self._resting: asyncio.TimerHandle | None = None
        self._calls = 0
        self._closed = False

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory now."""
        return self._model is not None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length float32 row per text, in order; `(n, 384)`.

        Raises NotSupported with the install command when the weights are missing, Unavailable after `close`.
        """
        self._calls += 1
        try:
            model, encodings, vectors = await self._call(lambda: self._tokenized(list(texts)))
            # Batch by batch through the thread, so that a short call need not wait for the whole of a long one.
            for group in batches([len(encoding.ids) for encoding in encodings]):
                batch = [encodings[index] for index in group]
                vectors[group] = await self._call(lambda batch=batch: model.run(batch))
        finally:
            self._calls -= 1
            self._rest_later()
        return vectors

    async def close(self) -> None:
        """Waits for the batch that runs and frees the model. Idempotent."""
        self._closed = True
        self._rest_later()
        await self._worker.close()
        self._model = None

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Unavailable("the embedder is closed")
        return await self._worker.call(work)

    def _tokenized(self, texts: list[str]) -> tuple[_Model, list[Encoding], Vectors]:
        import numpy as np

        # Held here and by the call that asked, so that it may be let go of meanwhile.
        model = self._model
        if model is None:
            model = self._model = _Model(prepare(self._models), self._threads)
        return model, model.tokenize(texts), np.empty((len(texts), DIMENSION), dtype=np.float32)

    def _rest_later(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._rest_after is not None and self._calls == 0 and not self._closed:
            self._resting = asyncio.get_running_loop().call_later(self._rest_after, self._rest)

    def _rest(self) -> None:
        if self._calls == 0:
            self._model = None
            return_freed()


def return_freed() -> None:
    """Gives the system the memory that the C library keeps for later: 20 MB after a model. Does nothing off glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Model:
    """The loaded session and tokenizer; touched only in the embedder's thread."""

    def __init__(self, folder: Path, threads: int) -> None:
        from onnxruntime import InferenceSession, SessionOptions
        from tokenizers import Tokenizer

        options = SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would burn the cores that serve requests between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = str(folder / GRAPH_FILE)
        self._session: InferenceSession = InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def tokenize(self, texts: list[str]) -> list[Encoding]:
        return self._tokenizer.encode_batch(texts)

    def run(self, encodings: Sequence[Encoding]) -> Vectors:
        import numpy as np

        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        return self._session.run([EMBEDDING], {INPUT_IDS: ids, ATTENTION_MASK: mask})[0]
