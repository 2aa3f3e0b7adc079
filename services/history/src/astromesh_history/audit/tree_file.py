"""The file of the audit tree: leaves, whole nodes, signed heads, and where these were told. It is never built again:
in which order chains came into the tree stands nowhere else. Runs on the database's thread."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

from astromesh.v1.audit_pb2 import TreeHead
from astromesh.v1.envelope_pb2 import AggregateType
from astromesh_core.audit.merkle import Growth, Nodes, inclusion_proof, leaf_hash
from astromesh_core.audit.records import TYPE_NAMES, leaf_bytes
from astromesh_core.errors import Unavailable
from astromesh_history.database import FILE, Database

TREE_FILE = "audit.sqlite"

_MOST_LEAVES = 2**62

_FIRST_HEADS = 8
"""Signed heads that an export proves a leaf to have stood under, anchored or not: a place may hold one without the mesh
knowing, which was stopped as it told it."""

TYPES = frozenset(TYPE_NAMES)
"""Of the chains that come into the tree."""

_TABLES = """
CREATE TABLE tree (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id TEXT NOT NULL
) STRICT;
CREATE TABLE leaves (
    number INTEGER PRIMARY KEY,      -- from 0, in the tree's order
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    type INTEGER NOT NULL,           -- AggregateType
    events INTEGER NOT NULL,
    sha256 BLOB NOT NULL             -- of the last event
) STRICT;
CREATE INDEX leaves_of ON leaves (id, namespace, number);
CREATE TABLE nodes (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE heads (
    size INTEGER PRIMARY KEY,
    data BLOB NOT NULL               -- the serialised TreeHead
) STRICT;
CREATE TABLE anchored (
    place TEXT NOT NULL,
    size INTEGER NOT NULL,
    time INTEGER NOT NULL,           -- Unix nanoseconds
    PRIMARY KEY (place, size)
) STRICT, WITHOUT ROWID;
"""


class ChainState(NamedTuple):
    """How far a chain is."""

    namespace: str
    id: str
    type: AggregateType.ValueType
    events: int
    sha256: bytes

    def leaf(self) -> bytes:
        """As it stands in the tree."""
        return leaf_bytes(self.namespace, TYPE_NAMES[self.type], self.id, self.events, self.sha256)


class Leaf(NamedTuple):
    """A chain's newest leaf."""

    number: int
    state: ChainState


async def open_tree(folder: Path) -> Database:
    """Opens the file in history's folder, or begins a new tree. Raises Unavailable where it cannot be used."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit")
    try:
        connection = await asyncio.get_running_loop().run_in_executor(pool, _open, folder)
    except (OSError, sqlite3.Error) as error:
        pool.shutdown(wait=False)
        raise Unavailable(f"the audit tree in {folder} cannot be opened: {error}") from error
    return Database(connection, pool)


def tree_id(connection: sqlite3.Connection) -> str:
    """The tree's name."""
    return connection.execute("SELECT id FROM tree").fetchone()[0]


def size_of(connection: sqlite3.Connection) -> int:
    """How many leaves there are."""
    return connection.execute("SELECT coalesce(max(number) + 1, 0) FROM leaves").fetchone()[0]


def grow(connection: sqlite3.Connection, states: Sequence[ChainState]) -> None:
    """Appends a leaf for each chain that is further than its newest leaf says; all of them or none."""
    growth = Growth(size_of(connection), nodes_of(connection))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for state in states:
            newest = leaf_of(connection, state.namespace, state.id)
            if newest is not None and newest.state.events >= state.events:
                continue
            connection.execute("INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?)", (growth.size, *state))
            made = growth.append(leaf_hash(state.leaf()))
            connection.executemany("INSERT INTO nodes VALUES (?, ?, ?)", made)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def behind(connection: sqlite3.Connection, after: int, count: int) -> tuple[list[ChainState], int]:
    """Of the next `count` chains of the read model after a number, those that the tree does not know as they are; and
    the last number looked at, 0 at the end."""
    rows: list[tuple[int, str, str, int, int, bytes]] = connection.execute(
        "SELECT number, namespace, id, type, next_index, sha256 FROM model.aggregates WHERE number > ? "
        "ORDER BY number LIMIT ?",
        (after, count),
    ).fetchall()
    found = list[ChainState]()
    for _, namespace, chain_id, kind, events, sha256 in rows:
        newest = leaf_of(connection, namespace, chain_id)
        if events and (newest is None or newest.state.events < events):
            found.append(ChainState(namespace, chain_id, cast("AggregateType.ValueType", kind), events, sha256))
    return found, rows[-1][0] if rows else 0


def root_of(connection: sqlite3.Connection) -> tuple[int, bytes]:
    """How many leaves there are, and the root over them."""
    growth = Growth(size_of(connection), nodes_of(connection))
    return growth.size, growth.root()


def leaf_of(connection: sqlite3.Connection, namespace: str, chain_id: str) -> Leaf | None:
    """A chain's newest leaf."""
    return leaf_below(connection, namespace, chain_id, _MOST_LEAVES)


def leaf_below(connection: sqlite3.Connection, namespace: str, chain_id: str, size: int) -> Leaf | None:
    """A chain's newest leaf among the first `size`."""
    row = connection.execute(
        "SELECT number, namespace, id, type, events, sha256 FROM leaves WHERE id = ? AND namespace = ? AND number < ? "
        "ORDER BY number DESC LIMIT 1",
        (chain_id, namespace, size),
    ).fetchone()
    return None if row is None else Leaf(row[0], ChainState(*row[1:]))


def all_within(connection: sqlite3.Connection, namespace: str, ids: Sequence[str], size: int) -> bool:
    """Whether the newest leaf of each of these chains is among the first `size`."""
    leaves = (leaf_of(connection, namespace, chain_id) for chain_id in ids)
    return all(leaf is not None and leaf.number < size for leaf in leaves)


def all_known(connection: sqlite3.Connection, namespace: str, ids: Sequence[str], size: int) -> bool:
    """Whether each of these chains has a leaf among the first `size`."""
    return all(leaf_below(connection, namespace, chain_id, size) is not None for chain_id in ids)


def proof_of(connection: sqlite3.Connection, index: int, size: int) -> list[bytes]:
    """The way from a leaf to the root over so many leaves."""
    return inclusion_proof(index, size, nodes_of(connection))


def earlier_ways(
    connection: sqlite3.Connection, index: int, size: int, places: Sequence[str]
) -> dict[int, list[bytes]]:
    """The ways from a leaf to the heads before that of so many leaves that covered it first: the first ones signed, and
    the first one that each place was told."""
    between = (index, size)
    rows = connection.execute(
        "SELECT size FROM heads WHERE size > ? AND size < ? ORDER BY size LIMIT ?", (*between, _FIRST_HEADS)
    )
    found = {first for (first,) in rows}
    for place in places:
        row = connection.execute(
            "SELECT min(size) FROM anchored WHERE size > ? AND size < ? AND place = ?", (*between, place)
        ).fetchone()
        found |= {row[0]} - {None}
    return {first: proof_of(connection, index, first) for first in found}


def nodes_of(connection: sqlite3.Connection) -> Nodes:
    """The tree's whole nodes."""

    def node(level: int, number: int) -> bytes:
        return connection.execute(
            "SELECT sha256 FROM nodes WHERE level = ? AND number = ?", (level, number)
        ).fetchone()[0]

    return node


def add_head(connection: sqlite3.Connection, head: TreeHead) -> None:
    """Keeps a signed head."""
    connection.execute("INSERT INTO heads VALUES (?, ?)", (head.size, head.SerializeToString()))


def heads(connection: sqlite3.Connection, before: int, count: int) -> list[TreeHead]:
    """The newest heads of fewer leaves than `before`, newest first; 0: of any number."""
    rows = connection.execute(
        "SELECT data FROM heads WHERE ? = 0 OR size < ? ORDER BY size DESC LIMIT ?", (before, before, count)
    )
    return [TreeHead.FromString(data) for (data,) in rows]


def head_of_size(connection: sqlite3.Connection, size: int) -> TreeHead:
    """The head of so many leaves, which must be there."""
    return TreeHead.FromString(connection.execute("SELECT data FROM heads WHERE size = ?", (size,)).fetchone()[0])


def note_anchored(connection: sqlite3.Connection, place: str, size: int, time_unix_nano: int) -> None:
    """A head was told to a place."""
    connection.execute("INSERT OR IGNORE INTO anchored VALUES (?, ?, ?)", (place, size, time_unix_nano))


def anchored_at(connection: sqlite3.Connection, place: str) -> tuple[int, int]:
    """The largest head told to a place, and when; zeros where none was."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT size, time FROM anchored WHERE place = ? ORDER BY size DESC LIMIT 1", (place,)
    ).fetchone()
    return row or (0, 0)


def _open(folder: Path) -> sqlite3.Connection:
    path = folder / TREE_FILE
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, uri=True)
    connection.execute("PRAGMA journal_mode = WAL")
    # A head may be told to somebody the moment it is kept.
    connection.execute("PRAGMA synchronous = FULL")
    # Read-only, or each of this file's transactions would hold up the read model's.
    connection.execute("ATTACH ? AS model", (f"{(folder / FILE).absolute().as_uri()}?mode=ro",))
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'tree'").fetchone():
        connection.executescript(_TABLES)
        connection.execute("INSERT INTO tree VALUES (1, ?)", (secrets.token_hex(8),))
    return connection
