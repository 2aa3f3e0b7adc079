"""Tokens that stand for personal data, such as `<EMAIL_1>`: one for each value, the same wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from astromesh_native.spans import Span

_TOKEN: Final = re.compile(r"<[A-Z][A-Z0-9_]*_[0-9]+>")


class Masks:
    """The tokens of a run. Those that it did not have before are in `added`, in the order of their making."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """`known` maps tokens to what they stand for."""
        self._tokens = {value: token for token, value in (known or {}).items()}
        self._taken = set(known or ())
        self.added: dict[str, str] = {}

    def reserve(self, text: str) -> None:
        """Lets tokens that stand in a text already, of whoever wrote it, stand for themselves for ever: whoever writes
        one gets nobody's value for it, and a run below another leaves the other's tokens alone."""
        for token in _TOKEN.findall(text):
            if token not in self._taken:
                self._add(token, token)

    def masked(self, text: str, spans: Iterable[Span]) -> str:
        """The text with each span replaced by its token. The spans are disjoint and in order."""
        parts: list[str] = []
        done = 0
        for start, end, kind in spans:
            parts += (text[done:start], self._token(kind, text[start:end]))
            done = end
        parts.append(text[done:])
        return "".join(parts)

    def _token(self, kind: str, value: str) -> str:
        token = self._tokens.get(value)
        if token is None:
            number = 1 + sum(1 for known in self._taken if known.startswith(f"<{kind}_"))
            while (token := f"<{kind}_{number}>") in self._taken:
                number += 1
            self._add(token, value)
        return token

    def _add(self, token: str, value: str) -> None:
        self._tokens[value] = token
        self.added[token] = value
        self._taken.add(token)
