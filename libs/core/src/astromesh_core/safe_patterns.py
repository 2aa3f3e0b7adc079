"""Regular expressions of users, by an engine that takes time by the length of the text alone (RE2), whatever they say.

Its syntax is that of https://github.com/google/re2/wiki/Syntax: no look-around and no back references; `\\w`, `\\d` and
`\\b` are ASCII's, `\\p{L}` is a letter of any script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from astromesh_core.errors import InvalidInput

_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_BYTES = 8 * 1024 * 1024


class SafePattern:
    """A pattern, compiled. Raises InvalidInput with the engine's reason where it takes none like it.

    `most_bytes` bounds what the engine remembers of the texts that it saw; a large pattern is slow where that is full.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False, most_bytes: int = MOST_BYTES) -> None:
        # Imported here: what declares no pattern need not load the engine.
        import re2

        options = re2.Options()
        options.case_sensitive = not ignore_case
        options.log_errors = False
        options.max_mem = most_bytes
        try:
            self._compiled = re2.compile(pattern, options)
        except re2.error as error:
            raise InvalidInput(f"is no pattern that RE2 takes: {_reason(error)}") from error
        if self._compiled.search("") is not None:
            raise InvalidInput("matches the empty text, which is everywhere; say what has to stand there at least")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it stands in the text, from start to end, in order and apart from each other."""
        for match in self._compiled.finditer(_encodable(text)):
            if match.end() > match.start():
                yield match.span()


def _encodable(text: str) -> str:
    """The text with a mark for each half of a character, which escapes of JSON can make and UTF-8 cannot hold."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def _reason(error: Exception) -> str:
    told: object = error.args[0] if error.args else "refused"
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
