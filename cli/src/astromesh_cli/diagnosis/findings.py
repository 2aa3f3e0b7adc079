"""What a check found: fine, worth a note, or broken; and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `note` works, with less; `broken` keeps a mesh from running or answering."""

    name: str
    state: State
    found: str
    mend: str = ""
