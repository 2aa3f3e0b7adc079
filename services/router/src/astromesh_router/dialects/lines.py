"""Lines and server-sent events out of bytes in any pieces. Pure; what they mean stands in each dialect."""

from __future__ import annotations

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes. A line beyond it is taken for rubbish: memory is bounded by it."""


class LineTooLong(ValueError):
    """No line of the wire format is that long."""


class LineReader:
    """Cuts bytes into lines at LF or CRLF; an unfinished line waits for its end."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. Raises LineTooLong."""
        if b"\n" not in data:
            # Grown in place: a long line in many pieces is copied once.
            self._rest += data
            self._check()
            return []
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest = bytearray(rest)
        self._check()
        return [line.removesuffix(b"\r") for line in lines]

    def finish(self) -> list[bytes]:
        """The last line, where the bytes end without a line end."""
        rest, self._rest = bytes(self._rest), bytearray()
        return [rest] if rest else []

    def _check(self) -> None:
        if len(self._rest) > LONGEST_LINE:
            raise LineTooLong


class EventReader:
    """Server-sent events (WHATWG HTML 9.2.6): their data; comments, names and ids are skipped."""

    def __init__(self) -> None:
        self._lines = LineReader()
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The data of each event that `data` completes. Raises LineTooLong."""
        return self._dispatch(self._lines.feed(data))

    def finish(self) -> list[bytes]:
        """The data of a last event without its blank line, which some servers forget."""
        return self._dispatch([*self._lines.finish(), b""])

    def _dispatch(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data = []
        return events
