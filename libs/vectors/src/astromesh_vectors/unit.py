"""Vectors checked and scaled to length one, so that an inner product is a cosine. Imports numpy: import it late."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from astromesh_core.errors import InvalidInput


def unit_rows(vectors: NDArray[np.float32] | Sequence[NDArray[np.float32]], dimension: int) -> NDArray[np.float32]:
    """The rows as contiguous little-endian float32 `(n, dimension)` of unit length; the input is left as it is.

    Raises InvalidInput for another dimension, and for a row without a direction: all zeros, infinite or not a number.
    """
    if len(vectors) == 0:
        return np.empty((0, dimension), dtype="<f4")
    if any(np.ndim(row) != 1 or len(row) != dimension for row in vectors):
        widths = sorted({"x".join(map(str, np.shape(row))) for row in vectors})
        raise InvalidInput(f"the collection keeps vectors of dimension {dimension}, given were {', '.join(widths)}")
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
        raise InvalidInput("a vector is zero or holds a value that is no finite number")
    return np.ascontiguousarray(rows / lengths, dtype="<f4")


def unit_row(vector: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """One vector, `(dimension,)`, as `unit_rows` has it. Raises InvalidInput."""
    if np.shape(vector) == (dimension,):
        row = np.asarray(vector, dtype=np.float64)
        squared = float(row @ row)
        if 0.0 < squared < math.inf:
            return (row / math.sqrt(squared)).astype("<f4")
    return unit_rows([vector], dimension)[0]
