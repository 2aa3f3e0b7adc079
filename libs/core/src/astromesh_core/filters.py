"""Metadata of documents, and conditions on it: what each means, written down once for every store. Pure.

Values are texts, numbers and truth values. Values of different kinds are never equal: `1`, `"1"` and `true` are three;
`1` and `1.0` are one. A missing key meets no condition but a negated one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeGuard

from astromesh_core.errors import InvalidInput

MetadataValue: TypeAlias = str | int | float | bool
Metadata: TypeAlias = Mapping[str, MetadataValue]

MOST_ENTRIES: Final = 64
LONGEST_KEY: Final = 128
LONGEST_TEXT: Final = 2_000
LARGEST_INTEGER: Final = 2**53
"""Up to here a number is the same in every store: as an integer, as a double, and in JSON."""


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is this one."""

    key: str
    value: MetadataValue


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of these; of none, nothing is."""

    key: str
    values: tuple[MetadataValue, ...]


@dataclass(frozen=True, slots=True)
class Within:
    """The value is a number within the bounds that are given. No text and no truth value is within any."""

    key: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value."""

    key: str


@dataclass(frozen=True, slots=True)
class Every:
    """All parts are met; without parts, always."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One part at least is met; without parts, never."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not met: also where the key is missing."""

    part: Filter


Filter: TypeAlias = Equals | OneOf | Within | Exists | Every | Some | Not
"""A condition on metadata. To keep something by one, take its `repr`: Python's `==` holds 1, 1.0 and True for equal."""


def is_met(where: Filter, metadata: Metadata) -> bool:
    """Whether metadata meets a condition: the meaning that every store keeps to."""
    match where:
        case Every(parts):
            return all(is_met(part, metadata) for part in parts)
        case Some(parts):
            return any(is_met(part, metadata) for part in parts)
        case Not(part):
            return not is_met(part, metadata)
        case _:
            return where.key in metadata and _value_meets(where, metadata[where.key])


def _value_meets(where: Equals | OneOf | Within | Exists, value: MetadataValue) -> bool:
    match where:
        case Equals(_, wanted):
            return same(value, wanted)
        case OneOf(_, wanted):
            return any(same(value, one) for one in wanted)
        case Within():
            return is_number(value) and _within(where, value)
        case Exists():
            return True


def _within(bounds: Within, value: float) -> bool:
    return (
        (bounds.above is None or value > bounds.above)
        and (bounds.at_least is None or value >= bounds.at_least)
        and (bounds.below is None or value < bounds.below)
        and (bounds.at_most is None or value <= bounds.at_most)
    )


def same(one: MetadataValue, other: MetadataValue) -> bool:
    """Whether two values are of one kind and equal."""
    return kind_of(one) == kind_of(other) and one == other


def kind_of(value: MetadataValue) -> str:
    """`text`, `number` or `truth`."""
    if isinstance(value, bool):
        return "truth"
    return "text" if isinstance(value, str) else "number"


def is_number(value: object) -> TypeGuard[int | float]:
    """A truth value is none, though Python counts with it."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked_metadata(metadata: Mapping[str, object]) -> dict[str, MetadataValue]:
    """The metadata, which every store can keep as it is. Raises InvalidInput that names the key and what is wrong."""
    if len(metadata) > MOST_ENTRIES:
        raise InvalidInput(f"metadata has {len(metadata)} entries; it may have {MOST_ENTRIES}")
    return {checked_key(key): checked_value(key, value) for key, value in metadata.items()}


def checked_key(key: object) -> str:
    """A key of metadata. Raises InvalidInput."""
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or key.startswith("$") or not _storable(key):
        wanted = f"1 to {LONGEST_KEY} characters that do not begin with $"
        raise InvalidInput(f"{str(key)[:80]!r} is no key of metadata: it has {wanted}, and no NUL")
    return key


def checked_value(key: str, value: object) -> MetadataValue:
    """A value of metadata. Raises InvalidInput that names its key."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT or not _storable(value):
            raise InvalidInput(f"{key}: a text of metadata has {LONGEST_TEXT} characters at most, and no NUL")
        return value
    if is_number(value):
        return _checked_number(key, value)
    kind = "null" if value is None else type(value).__name__
    raise InvalidInput(f"{key}: {kind} is no value of metadata; text, numbers, true and false are")


def _checked_number(key: str, value: float) -> float:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise InvalidInput(f"{key}: {value} is beyond 2**53, where numbers differ between stores; write it as text")
    if not math.isfinite(value):
        raise InvalidInput(f"{key}: {value} is no finite number")
    return value


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def conjunction(*parts: Filter | None) -> Filter | None:
    """All of the conditions that there are, as one; None where there is none."""
    there: Sequence[Filter] = [part for part in parts if part is not None]
    return there[0] if len(there) == 1 else Every(tuple(there)) if there else None
