"""What a service makes of each version of a resource: made once, kept by its hash. Storing versions is the bus's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from astromesh.v1.values_pb2 import ResourceRef

Made = TypeVar("Made")


class Specs(Protocol):
    """Where the canonical specs of all versions are found."""

    async def by_hash(self, ref: ResourceRef) -> str:
        """The version's canonical spec as JSON. Raises NotFound."""
        ...


class Compiled(Generic[Made]):
    """Keeps what `make` returns for the versions used last. A version never changes, so nothing is ever stale."""

    def __init__(self, specs: Specs, make: Callable[[ResourceRef, str], Made], *, capacity: int = 1024) -> None:
        self._specs = specs
        self._make = make
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str, bytes], Made] = OrderedDict()

    async def of(self, ref: ResourceRef) -> Made:
        """What was made of this version. Raises NotFound for an unknown one, and whatever `make` raises, each time."""
        key = (ref.namespace, ref.name, ref.sha256)
        made = self._kept.get(key)
        if made is None:
            made = self._make(ref, await self._specs.by_hash(ref))
            self._kept[key] = made
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return made
