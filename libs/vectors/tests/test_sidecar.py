"""The SQLite file of a FAISS store that an earlier release wrote."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from astromesh_core.filters import Equals
from astromesh_vectors.faiss_store.store import SIDECAR_FILE, FaissStore

UNIT = np.array([0.6, 0.8], dtype="<f4")
TEXT = "Rex is a dog."

SCHEMA_1 = """
CREATE TABLE store (schema INTEGER NOT NULL, identity TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL,
    generation INTEGER NOT NULL);
CREATE TABLE documents (id TEXT PRIMARY KEY, sha256 BLOB NOT NULL, metadata TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE passages (number INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL REFERENCES documents (id),
    ordinal INTEGER NOT NULL, source TEXT NOT NULL, first INTEGER NOT NULL, past INTEGER NOT NULL,
    headings TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL, UNIQUE (document, ordinal));
INSERT INTO store VALUES (1, 'aa', 'm', 2, 1);
"""
SCHEMA_2 = """
CREATE TABLE store (schema INTEGER NOT NULL, identity TEXT NOT NULL, model TEXT NOT NULL, dimension INTEGER NOT NULL,
    generation INTEGER NOT NULL);
CREATE TABLE documents (id TEXT PRIMARY KEY, sha256 BLOB NOT NULL, metadata TEXT NOT NULL,
    text TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE passages (number INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL REFERENCES documents (id),
    ordinal INTEGER NOT NULL, source TEXT NOT NULL, first INTEGER NOT NULL, past INTEGER NOT NULL,
    headings TEXT NOT NULL, text TEXT NOT NULL, vector BLOB NOT NULL, metadata TEXT NOT NULL DEFAULT '{}',
    UNIQUE (document, ordinal));
CREATE TABLE facts (key TEXT NOT NULL, kind INTEGER NOT NULL, value NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (key, kind, value, number)) WITHOUT ROWID;
CREATE INDEX facts_of ON facts (number);
INSERT INTO store VALUES (2, 'aa', 'm', 2, 1);
INSERT INTO facts VALUES ('lang', 2, 'en', 1);
"""


@pytest.mark.parametrize("schema", [1, 2])
async def test_what_an_earlier_release_wrote_is_found_as_it_was(tmp_path: Path, schema: int) -> None:
    passage = ["a.md", 0, "a.md", 10, 23, '["Dogs"]', TEXT, UNIT.tobytes()]
    connection = sqlite3.connect(tmp_path / SIDECAR_FILE)
    connection.executescript(SCHEMA_1 if schema == 1 else SCHEMA_2)
    columns = "document, ordinal, source, first, past, headings, text, vector"
    if schema == 1:
        connection.execute(
            "INSERT INTO documents VALUES ('a.md', x'01', ?)", [json.dumps({"lang": "en", "text": "all"})]
        )
        connection.execute(f"INSERT INTO passages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", passage)
    else:
        connection.execute("INSERT INTO documents VALUES ('a.md', x'01', ?, 'all')", ['{"lang": "en"}'])
        marks = "?, ?, ?, ?, ?, ?, ?, ?, ?"
        connection.execute(f"INSERT INTO passages ({columns}, metadata) VALUES ({marks})", [*passage, '{"lang": "en"}'])
    connection.commit()
    connection.close()

    for _ in range(2):
        store = FaissStore(tmp_path, model="m", dimension=2)
        found = await store.search(UNIT, "dogs", 5, Equals("lang", "en"))
        for (match,) in (found.by_vector, found.by_words):
            kept = match.passage
            assert (kept.id, kept.source, kept.start, kept.end) == ("a.md#0", "a.md", 10, 23)
            assert (list(kept.headings), kept.text.text) == (["Dogs"], TEXT)
            assert kept.sha256 == hashlib.sha256(TEXT.encode()).digest()
            assert json.loads(kept.metadata_json) == {"lang": "en"}
            assert match.vector.tolist() == UNIT.tolist()
        assert await store.text("a.md") == "all"
        await store.close()
