"""What is wrong with a document, said so that its writer can mend it. Finding what is wrong stands elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from astromesh_core.errors import InvalidInput


@dataclass(frozen=True)
class Problem:
    """One thing to mend: where it stands, why it is refused, and what to write instead.

    `path` is dotted, in the spelling of the document (`spec.model.fallback[0].modle`); `line` counts from 1 and is 0
    where the document had no lines. `code` is stable and CamelCase, fit for the reason of a condition. `resource` names
    the resource as `Kind namespace/name` once that is known.
    """

    file: str
    line: int
    path: str
    reason: str
    hint: str = ""
    code: str = "Invalid"
    resource: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (place, self.path, self.reason) if part)
        return f"{text} ({self.hint})" if self.hint else text


class InvalidResource(InvalidInput):
    """A document that cannot become a resource; `problems` holds each reason, at least one."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def dotted(path: Iterable[str | int]) -> str:
    """Writes a path as people write it: `spec.tools[0].name`."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        else:
            text += f".{segment}" if text else segment
    return text


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Names the choice nearest to a misspelt word as a hint, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
