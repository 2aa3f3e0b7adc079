"""Words and phrases of a list in a text, by a tree of their characters."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from astromesh_native.folding import fold
from astromesh_native.twins.letters import SPACED

_SPACED: Final = re.compile(f"[{SPACED}]")


class _Node(dict[str, "_Node"]):
    """What may follow; `ends` where a word does."""

    ends = False


class KeywordMatcher:
    """Finds the words that it was made for. Time is linear in the text, times the longest word at worst."""

    def __init__(self, words: Collection[str]) -> None:
        self._root = _Node()
        for word in words:
            node = self._root
            for character in fold(word):
                node = node.setdefault(character, _Node())
            node.ends = True
        first = "".join(map(re.escape, self._root))
        beginning = rf"(?:(?<![{SPACED}])|(?![{SPACED}]))[{first}]"
        self._start = re.compile(beginning if first else r"(?!)")

    def find(self, text: str) -> list[tuple[int, int]]:
        """See `astromesh_native.keywords.Matcher`."""
        folded = fold(text)
        found = list[tuple[int, int]]()
        start = self._start.search(folded)
        while start is not None:
            place = start.start()
            end = self._longest(folded, place)
            if end:
                found.append((place, end))
            start = self._start.search(folded, end or place + 1)
        return found

    def _longest(self, folded: str, place: int) -> int:
        """The place behind the longest word that begins here; 0 where none does."""
        node, end = self._root, 0
        for here in range(place, len(folded)):
            following = node.get(folded[here])
            if following is None:
                break
            node = following
            if node.ends and not _joined(folded, here + 1):
                end = here + 1
        return end


def _joined(folded: str, place: int) -> bool:
    """Whether one word goes on over this place."""
    return 0 < place < len(folded) and bool(_SPACED.match(folded, place - 1) and _SPACED.match(folded, place))
