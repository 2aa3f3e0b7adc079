"""Tokens that stand for personal data, such as `<EMAIL_1>`: one for each value, the same wherever it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from astromesh_native.spans import Span


class Masks:
    """The tokens of a run. Those that it did not have before are in `added`, in the order of their making."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        """`known` maps tokens to what they stand for."""
        self._tokens = {value: token for token, value in (known or {}).items()}
        self.added: dict[str, str] = {}

    def masked(self, text: str, spans: Iterable[Span]) -> str:
        """The text with each span replaced by its token. The spans are disjoint and in order."""
        parts: list[str] = []
        done = 0
        for start, end, kind in spans:
            parts += (text[done:start], self._token(kind, text[start:end], text))
            done = end
        parts.append(text[done:])
        return "".join(parts)

    def _token(self, kind: str, value: str, text: str) -> str:
        token = self._tokens.get(value)
        if token is None:
            taken = set(self._tokens.values())
            number = 1 + sum(1 for known in taken if known.startswith(f"<{kind}_"))
            # Whoever writes a token of their own gets nobody's value for it.
            while (token := f"<{kind}_{number}>") in taken or token in text:
                number += 1
            self._tokens[value] = token
            self.added[token] = value
        return token
