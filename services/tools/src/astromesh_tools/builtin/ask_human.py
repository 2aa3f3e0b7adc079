"""`ask_human` where there is no run that could wait: within one, the runtime asks and nobody comes here."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from astromesh_core.errors import NotSupported


class AskHuman:
    """See Builtin."""

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """Never an answer. Raises NotSupported."""
        del arguments
        raise NotSupported("a question to a human is asked within a run, which waits for the answer")
