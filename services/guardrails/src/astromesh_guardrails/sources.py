"""What rules need beside their declarations: embedders, the agent's tokenizer, files of the config folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from astromesh_core.events.token_estimates import text_tokens
from astromesh_core.resources.candidates import ModelSpec
from astromesh_core.resources.embeddings import EmbeddingsSpec
from astromesh_guardrails.likeness import Likenesses
from astromesh_native.wordpiece import TokenReader, token_reader

BUILT_IN = EmbeddingsSpec()
_TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the rules of one agent find what they need. What is opened here stays its owner's."""

    likenesses: Likenesses
    config_dir: Path
    count_tokens: Callable[[str], int] = field(default=text_tokens)


def token_counter(model: ModelSpec, models: Path) -> Callable[[str], int]:
    """Counts tokens by the tokenizer of the agent's first model where it lies in `models`, else about: of a vendor's
    model nobody but the vendor has the tokenizer."""
    first = model.first
    file = models / (first.model or "") / _TOKENIZER_FILE
    if first.provider == "onnx" and file.is_file():
        return _reader(file, file.stat().st_mtime_ns).count
    return text_tokens


@lru_cache(maxsize=8)
def _reader(file: Path, changed: int) -> TokenReader:
    del changed
    return token_reader(file)
