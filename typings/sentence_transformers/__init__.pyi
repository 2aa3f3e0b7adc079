"""What we call of sentence-transformers (https://sbert.net), which the extra `torch` installs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch.nn import Sigmoid

class SentenceTransformer:
    def __init__(self, model_name_or_path: str, *, device: str | None = None) -> None: ...
    def encode(
        self,
        sentences: Sequence[str],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        normalize_embeddings: bool = False,
    ) -> NDArray[np.float32]: ...
    def get_embedding_dimension(self) -> int | None: ...

class CrossEncoder:
    def __init__(self, model_name_or_path: str, *, device: str | None = None) -> None: ...
    def predict(
        self,
        sentences: Sequence[tuple[str, str]],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
        activation_fn: Sigmoid | None = None,
    ) -> NDArray[np.float32]: ...
