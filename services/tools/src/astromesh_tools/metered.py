"""JSON that counts how much of it is looked at, so that no path through it takes for ever."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Final

from pydantic import JsonValue

from astromesh_core.errors import LimitExceeded

MOST_LOOKED_AT: Final = 200_000
"""Items that a path may look at, each as often as it does."""


def metered(value: JsonValue) -> JsonValue:
    """The same value, which raises LimitExceeded once too much of it was looked at. Raises RecursionError."""
    return _metered(value, _Effort())


def _metered(value: JsonValue, effort: _Effort) -> JsonValue:
    match value:
        case dict():
            return _Mapping({key: _metered(inner, effort) for key, inner in value.items()}, effort)
        case list():
            return _List([_metered(inner, effort) for inner in value], effort)
        case _:
            return value


class _Effort:
    """Counts what is looked at."""

    def __init__(self) -> None:
        self._left = MOST_LOOKED_AT

    def spend(self, items: int) -> None:
        self._left -= items + 1
        if self._left < 0:
            raise LimitExceeded("the path looks at too many values; name more of the way, or give less data")


class _Mapping(dict[str, JsonValue]):
    def __init__(self, items: dict[str, JsonValue], effort: _Effort) -> None:
        super().__init__(items)
        self._effort = effort

    def __iter__(self) -> Iterator[str]:
        self._effort.spend(len(self))
        return super().__iter__()

    def keys(self) -> KeysView[str]:  # pyright: ignore[reportIncompatibleMethodOverride] - a view all the same
        self._effort.spend(len(self))
        return super().keys()

    def values(self) -> ValuesView[JsonValue]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        self._effort.spend(len(self))
        return super().values()

    def items(self) -> ItemsView[str, JsonValue]:  # pyright: ignore[reportIncompatibleMethodOverride] - see above
        self._effort.spend(len(self))
        return super().items()


class _List(list[JsonValue]):
    def __init__(self, items: list[JsonValue], effort: _Effort) -> None:
        super().__init__(items)
        self._effort = effort

    def __iter__(self) -> Iterator[JsonValue]:
        self._effort.spend(len(self))
        return super().__iter__()
