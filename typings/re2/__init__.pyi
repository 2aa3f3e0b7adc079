# What we call of RE2's Python wrapper, which has no types.
from collections.abc import Iterator

error = Exception

class Options:
    case_sensitive: bool
    log_errors: bool
    max_mem: int

class _Match:
    def start(self) -> int: ...
    def end(self) -> int: ...
    def span(self) -> tuple[int, int]: ...

class _Regexp:
    def search(self, text: str) -> _Match | None: ...
    def finditer(self, text: str) -> Iterator[_Match]: ...

def compile(pattern: str, options: Options | None = None) -> _Regexp: ...
