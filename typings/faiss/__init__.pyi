# What we call of faiss; its own stubs mix in torch tensors, which are not installed.
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

METRIC_INNER_PRODUCT: Final = 0

class IDSelector: ...

class IDSelectorBitmap(IDSelector):
    def __init__(self, bitmap: NDArray[np.uint8]) -> None: ...

class SearchParameters:
    def __init__(self, *, sel: IDSelector | None = None) -> None: ...

class SearchParametersHNSW(SearchParameters):
    def __init__(self, *, sel: IDSelector | None = None, efSearch: int = 16) -> None: ...  # noqa: N803 - its name there

class IndexRefineSearchParameters(SearchParameters):
    def __init__(self, *, k_factor: float = 1, base_index_params: SearchParameters | None = None) -> None: ...

class FloatPointer: ...
class IntegerPointer: ...

class Index:
    d: int
    ntotal: int
    def add(self, x: NDArray[np.float32]) -> None: ...
    def search(
        self, x: NDArray[np.float32], k: int, *, params: SearchParameters | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...

class IndexFlat(Index):
    def get_xb(self) -> FloatPointer: ...

class IndexFlatIP(IndexFlat):
    def __init__(self, d: int) -> None: ...

class Pointer:
    def __int__(self) -> int: ...

class Numbers:
    """A std::vector of them."""

    def data(self) -> Pointer: ...
    def size(self) -> int: ...

class HNSW:
    efConstruction: int  # noqa: N815 - its name there
    neighbors: Numbers

class ScalarQuantizer:
    QT_bf16: Final = 7

class IndexScalarQuantizer(Index):
    codes: Numbers

class IndexHNSW(Index):
    hnsw: HNSW
    storage: Index

class IndexHNSWFlat(IndexHNSW):
    def __init__(self, d: int, M: int, metric: int) -> None: ...  # noqa: N803 - its name there

class IndexHNSWSQ(IndexHNSW):
    def __init__(self, d: int, qtype: int, M: int, metric: int) -> None: ...  # noqa: N803 - its name there

class IndexRefineFlat(Index):
    base_index: Index
    refine_index: Index
    def __init__(self, base_index: Index) -> None: ...

def downcast_index(index: Index) -> Index: ...
@overload
def swig_ptr(array: NDArray[np.float32]) -> FloatPointer: ...
@overload
def swig_ptr(array: NDArray[np.int64]) -> IntegerPointer: ...
def fvec_inner_products_by_idx(
    products: FloatPointer,
    query: FloatPointer,
    rows: FloatPointer,
    places: IntegerPointer,
    dimension: int,
    queries: int,
    count: int,
) -> None: ...
def rev_swig_ptr(pointer: FloatPointer, count: int) -> NDArray[np.float32]: ...
def serialize_index(index: Index) -> NDArray[np.uint8]: ...
def deserialize_index(data: NDArray[np.uint8]) -> Index: ...
def omp_set_num_threads(num_threads: int) -> None: ...
