"""How often the interpreter looks for cycles in a process that serves. What lives how long is not decided here."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""Allocated before the youngest generation is searched. At CPython's 700, a busy mesh spends a sixth of its time
searching: a run's protobuf messages and tasks are many, and hardly any of them lies in a cycle."""

STARTING_OBJECTS = 1_000_000
"""Allocated before anything is searched while a process starts. Our imports allocate 160,000."""

_GENERATIONS = (50, 100)


def hold() -> None:
    """Searches for nothing while a process starts: of what its imports allocate, one object in seventy is garbage."""
    gc.set_threshold(STARTING_OBJECTS)


def settle() -> None:
    """Called once, when a process has started: what is there stays, and is never searched again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *_GENERATIONS)


def leave() -> None:
    """Called at the end of a process: its memory goes as a whole, and searching it first would only take time."""
    gc.freeze()
