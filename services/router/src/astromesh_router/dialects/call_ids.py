"""What vendors take for the id of a tool call. A run may go on with a model whose vendor takes fewer ids than the one
that gave them out (`functions.search:0`). Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class CallIds:
    """The ids that a vendor takes, and how long the one is that stands for another: of hexadecimal digits."""

    source: str
    """The vendor's page that says so."""
    taken: str
    """A regular expression."""
    length: int

    def written(self, given: str) -> str:
        """The id, or one that stands for it, the same in the call and in its result."""
        return given if re.fullmatch(self.taken, given) else hashlib.sha256(given.encode()).hexdigest()[: self.length]


OPENAI_IDS = CallIds("https://platform.openai.com/docs/api-reference/chat/create", r".{1,40}", 32)
MISTRAL_IDS = CallIds("https://docs.mistral.ai/capabilities/function_calling/", r"[a-zA-Z0-9]{9}", 9)
ANTHROPIC_IDS = CallIds("https://docs.claude.com/en/api/messages", r"[a-zA-Z0-9_-]{1,64}", 32)
