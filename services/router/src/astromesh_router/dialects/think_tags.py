"""Tells a leading `<think>` block from the answer after it, in text that comes in any pieces. Pure.

    undecided ──"<think>"──▶ thinking ──"</think>"──▶ answering
        └──────any other text──────────────────────────▶┘

White space before the block and after it belongs to neither.
"""

from __future__ import annotations

import enum

OPENS = "<think>"
CLOSES = "</think>"


class _State(enum.Enum):
    UNDECIDED = enum.auto()
    THINKING = enum.auto()
    CLOSED = enum.auto()
    ANSWERING = enum.auto()


class ThinkTags:
    """Splits a text as it comes into what is thought and what is said."""

    def __init__(self) -> None:
        self._state = _State.UNDECIDED
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """What the next piece adds to the thought and to the answer; what may be part of a tag waits."""
        self._held += text
        self._open()
        thought = self._think()
        return thought, self._answer()

    def finish(self) -> tuple[str, str]:
        """What was waiting for the rest of a tag that never came."""
        rest, self._held = self._held, ""
        return (rest, "") if self._state is _State.THINKING else ("", rest)

    def _open(self) -> None:
        if self._state is not _State.UNDECIDED:
            return
        text = self._held.lstrip()
        if text.startswith(OPENS):
            self._state = _State.THINKING
            self._held = text.removeprefix(OPENS)
        elif not OPENS.startswith(text):
            self._state = _State.ANSWERING

    def _think(self) -> str:
        if self._state is not _State.THINKING:
            return ""
        thought, closed, rest = self._held.partition(CLOSES)
        if closed:
            self._state = _State.CLOSED
            self._held = rest
            return thought
        kept = len(self._held) - begun(self._held, CLOSES)
        thought, self._held = self._held[:kept], self._held[kept:]
        return thought

    def _answer(self) -> str:
        if self._state is _State.CLOSED:
            self._held = self._held.lstrip()
            if self._held:
                self._state = _State.ANSWERING
        if self._state is not _State.ANSWERING:
            return ""
        answer, self._held = self._held, ""
        return answer


def begun(text: str, tag: str) -> int:
    """How many characters at the end of a text may be the beginning of a tag."""
    return next((count for count in range(len(tag) - 1, 0, -1) if text.endswith(tag[:count])), 0)
