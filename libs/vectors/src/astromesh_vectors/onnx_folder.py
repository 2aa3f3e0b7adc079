"""A BERT-like model exported to ONNX, from a folder of the user's: graph and tokenizer. What its output means, others
know. Touched in one thread only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import orjson

from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.user_code.foreign import Raised, attempt
from astromesh_vectors.minilm.batches import batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

GRAPHS: Final = ("model.onnx", "onnx/model.onnx")
TOKENIZER: Final = "tokenizer.json"
CONFIGURATION: Final = "config.json"
LONGEST: Final = 512
"""Tokens that are read of a text or a pair, unless the model reads fewer."""

_FED: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})


def folder_of(models: Path, model: str) -> Path | None:
    """The folder that a model's name means: absolute, or below `models`. None where there is none."""
    name = Path(model)
    if not name.is_absolute() and ".." in name.parts:
        return None
    folder = models / name
    return folder if folder.is_dir() else None


def check_folder(folder: Path) -> Path:
    """The graph in the folder. Raises NotFound naming the file that is missing."""
    graph = next((folder / name for name in GRAPHS if (folder / name).is_file()), None)
    if graph is None:
        raise NotFound(f"{folder} holds no {' and no '.join(GRAPHS)}")
    if not (folder / TOKENIZER).is_file():
        raise NotFound(f"{folder} holds no {TOKENIZER}")
    return graph


class OnnxFolder:
    """The loaded model. Raises InvalidInput where the files are none that ONNX Runtime and tokenizers understand."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        from onnxruntime import InferenceSession, SessionOptions
        from tokenizers import Tokenizer

        graph = check_folder(folder)
        options = SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would burn the cores that serve requests between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Both libraries raise a plain Exception for a file that they do not understand.
        try:
            self._session: InferenceSession = attempt(
                lambda: InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            )
        except Raised as raised:
            raise InvalidInput(f"{graph} is no graph that ONNX Runtime can load: {_first_line(raised)}") from raised
        try:
            self._tokenizer: Tokenizer = attempt(lambda: Tokenizer.from_file(str(folder / TOKENIZER)))
        except Raised as raised:
            raise InvalidInput(f"{folder / TOKENIZER} is no tokenizer: {_first_line(raised)}") from raised
        self._tokenizer.enable_truncation(_longest(folder), strategy="longest_first")
        self._tokenizer.no_padding()
        self.folder = folder
        self.inputs = [each.name for each in self._session.get_inputs()]
        self.outputs = [each.name for each in self._session.get_outputs()]
        unknown = sorted(set(self.inputs) - _FED)
        if unknown:
            raise InvalidInput(f"{graph} wants {', '.join(unknown)}, which no text has")

    def encoded(self, texts: list[str] | list[tuple[str, str]]) -> list[Encoding]:
        """The tokens of texts, or of pairs, cut to what the model reads."""
        return self._tokenizer.encode_batch(texts)

    def run(self, encodings: Sequence[Encoding], output: str) -> NDArray[np.float32]:
        """One output of the graph for inputs that go through it together."""
        feed = self.fed(encodings)
        return self._session.run([output], {name: feed[name] for name in self.inputs})[0]

    @staticmethod
    def fed(encodings: Sequence[Encoding]) -> dict[str, NDArray[np.int64]]:
        """Ids, mask and types of inputs, `(n, longest)`, padded with zeros."""
        import numpy as np

        longest = max(len(encoding.ids) for encoding in encodings)
        fed = {name: np.zeros((len(encodings), longest), dtype=np.int64) for name in sorted(_FED)}
        for row, encoding in enumerate(encodings):
            fed["input_ids"][row, : len(encoding.ids)] = encoding.ids
            fed["token_type_ids"][row, : len(encoding.ids)] = encoding.type_ids
            fed["attention_mask"][row, : len(encoding.ids)] = 1
        return fed


def grouped(encodings: Sequence[Encoding]) -> list[list[int]]:
    """Which inputs go through the model together: indices, those of alike length."""
    return batches([len(encoding.ids) for encoding in encodings])


def _longest(folder: Path) -> int:
    """How many positions the model has, by its configuration, at most 512."""
    try:
        told: object = orjson.loads((folder / CONFIGURATION).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return LONGEST
    positions = cast("dict[str, object]", told).get("max_position_embeddings") if isinstance(told, dict) else None
    return min(positions, LONGEST) if isinstance(positions, int) and positions > 0 else LONGEST


def _first_line(raised: Raised) -> str:
    return str(raised.error).partition("\n")[0][:200]
