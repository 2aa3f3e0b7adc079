# What we call of watchfiles 1.3; its own hints name types of a library that is not installed.
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

def awatch(
    *paths: Path | str, watch_filter: Callable[[object, str], bool], step: int = 50
) -> AsyncGenerator[set[tuple[object, str]]]: ...
