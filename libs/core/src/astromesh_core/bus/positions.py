"""Places in a stream, for those who resume reading. Opaque: no event, export or API holds one."""

from __future__ import annotations

import struct
from typing import ClassVar, Self

from astromesh_core.errors import InvalidInput

_ENCODED = struct.Struct(">BQ")
_VERSION = 1


class Position:
    """How far a reader of a stream has come. Positions of one stream are ordered; of two streams, not comparable."""

    __slots__ = ("_sequence",)

    START: ClassVar[Position]
    """Before the first message."""

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence

    @property
    def sequence(self) -> int:
        """The stream sequence. Only `core.bus` and what it stores itself may look at it."""
        return self._sequence

    def encode(self) -> bytes:
        """Bytes to keep beside what was read so far. They sort as the positions do."""
        return _ENCODED.pack(_VERSION, self._sequence)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The position that was encoded. Raises InvalidInput on anything else."""
        if len(data) != _ENCODED.size or data[0] != _VERSION:
            raise InvalidInput("these bytes are no stored position")
        return cls(_ENCODED.unpack(data)[1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Position) and self._sequence == other._sequence

    def __lt__(self, other: Position) -> bool:
        return self._sequence < other._sequence

    def __le__(self, other: Position) -> bool:
        return self._sequence <= other._sequence

    def __gt__(self, other: Position) -> bool:
        return self._sequence > other._sequence

    def __ge__(self, other: Position) -> bool:
        return self._sequence >= other._sequence

    def __hash__(self) -> int:
        return hash(self._sequence)

    def __repr__(self) -> str:
        return f"Position({self._sequence})"


Position.START = Position(0)
