"""`sql_query`: one statement that reads, asked of a declared database. How it is asked stands in `sqlite_reading` and
`postgres_reading`; here: what may be asked, and how rows are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from astromesh_core.errors import Denied, InvalidInput
from astromesh_core.resources.builtin_configs import SqlQueryConfig
from astromesh_core.resources.connections import postgres_address
from astromesh_core.resources.secrets import resolve
from astromesh_core.resources.stores import Connection
from astromesh_tools.builtin.tool import in_thread
from astromesh_tools.results import render

if TYPE_CHECKING:
    from astromesh_tools.surroundings import Surroundings

MOST_CHARACTERS: Final = 60_000
"""Of all rows that one answer shows."""

LONGEST_CELL: Final = 5_000
_READS: Final = re.compile(
    r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*(select|with|values|table|explain|show)\b", re.I | re.S
)


class SqlQuery:
    """Asks one database, by a connection of its own for each call."""

    def __init__(self, config: SqlQueryConfig, seconds: float, around: Surroundings) -> None:
        self._config = config
        self._seconds = seconds
        self._around = around

    async def answer(self, arguments: Mapping[str, JsonValue]) -> object:
        """Rows as they come, up to a bound that is told; without a query, the tables and their columns."""
        query, given = str(arguments.get("query", "")).strip(), arguments.get("params", [])
        if query and not _READS.match(query):
            raise Denied("query: only statements that read are asked: SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW")
        params = given if isinstance(given, list) else []
        address = resolve(self._config.url or "", self._around.environ)
        if self._config.path is None and not address.startswith("sqlite:"):
            return await self._postgres(query, params)
        from astromesh_tools.builtin.sqlite_reading import read

        path = self._file(self._config.path or address.removeprefix("sqlite://").removeprefix("/"))
        rows = Rows(self._config.max_rows)
        return await in_thread(self._around.threads, partial(read, path, query, params, rows, self._seconds))

    async def _postgres(self, query: str, params: list[JsonValue]) -> object:
        from astromesh_tools.builtin.postgres_reading import read

        address = postgres_address(Connection(url=self._config.url), self._around.environ)
        return await read(address, query, params, Rows(self._config.max_rows), self._seconds)

    def _file(self, name: str) -> Path:
        path = (self._around.config_folder / name).resolve()
        if path.is_relative_to(self._around.data_folder.resolve()):
            raise Denied("the database lies in the mesh's own data, which no tool reads")
        return path


@dataclass
class Rows:
    """Rows of an answer, taken one by one until there are enough."""

    most: int
    columns: list[str] = field(default_factory=list[str])
    rows: list[list[object]] = field(default_factory=list[list[object]])
    _left: int = MOST_CHARACTERS
    _note: str = ""

    def take(self, row: Sequence[object]) -> bool:
        """Takes a row. False: there is no room for it, and none for more."""
        cells = [_shown(cell) for cell in row]
        self._left -= len(render(cells))
        if len(self.rows) == self.most or self._left < 0:
            self._note = f"only the first {len(self.rows)} rows are shown; ask for less, or for a sum"
            return False
        self.rows.append(cells)
        return True

    def answer(self) -> dict[str, object]:
        """As a model reads it."""
        note = {"note": self._note} if self._note else {}
        return {"columns": self.columns, "rows": self.rows, **note}


def _shown(cell: object) -> object:
    if isinstance(cell, bytes):
        return f"[{len(cell)} bytes]"
    if isinstance(cell, int | float | None):
        return cell
    text = cell if isinstance(cell, str) else render(cell).strip('"')
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} [{len(text) - LONGEST_CELL} more characters]"


def refused(reason: object) -> InvalidInput:
    """For a query that the database does not understand: in its own words."""
    return InvalidInput(f"query: {str(reason)[:500]}")
