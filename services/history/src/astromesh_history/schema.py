"""The tables of the read model and their version. A file of another version is dropped and built again from the log."""

from __future__ import annotations

VERSION = 3

TABLES = """
CREATE TABLE aggregates (
    number INTEGER PRIMARY KEY,      -- in order of first sight
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    type INTEGER NOT NULL,           -- AggregateType
    next_index INTEGER NOT NULL,     -- the chain's head
    sha256 BLOB NOT NULL,
    folded BLOB NOT NULL,            -- the serialised Run; empty for a session, as is all that follows
    agent TEXT NOT NULL,
    session_key TEXT NOT NULL,
    status INTEGER NOT NULL,         -- RunStatus
    requested INTEGER NOT NULL,      -- Unix nanoseconds
    asks INTEGER NOT NULL,           -- 1 where it asks a human something
    UNIQUE (id, namespace)
) STRICT;
CREATE INDEX runs_by_time ON aggregates (namespace, requested, number) WHERE type = 1;
CREATE INDEX runs_by_agent ON aggregates (namespace, agent, requested, number) WHERE type = 1;
CREATE INDEX runs_by_session ON aggregates (namespace, session_key, requested, number) WHERE type = 1;
CREATE INDEX runs_that_ask ON aggregates (namespace, requested, number) WHERE type = 1 AND asks = 1;
-- Most runs complete: the others are few, and they are what is looked for by status.
CREATE INDEX runs_by_status ON aggregates (namespace, status, requested, number) WHERE type = 1 AND status <> 6;

CREATE TABLE commits (
    aggregate INTEGER NOT NULL,
    first INTEGER NOT NULL,          -- the index of its first event
    past INTEGER NOT NULL,           -- one after that of its last
    data BLOB NOT NULL,              -- the serialised Commit: envelopes as they were stored
    PRIMARY KEY (aggregate, first)
) STRICT;

CREATE TABLE objects (
    sha256 BLOB PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE alarms (
    time INTEGER NOT NULL,           -- Unix nanoseconds, when it was found
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,             -- the index of the event at which it was found
    kind TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- What model calls cost, as the events bill it. Sums are of a namespace and a time, so its rows lie in that order.
CREATE TABLE charges (
    namespace TEXT NOT NULL,
    time INTEGER NOT NULL,           -- Unix nanoseconds, when the call began
    aggregate INTEGER NOT NULL,
    at INTEGER NOT NULL,             -- the index of the event that bills it
    number INTEGER NOT NULL,         -- among the charges of that event
    path TEXT NOT NULL,
    agent TEXT NOT NULL,
    principal TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,          -- tokens, as are the next four
    output INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    cache_written INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL,      -- 0 or 1
    cost INTEGER NOT NULL,           -- 1e-9 US dollars
    PRIMARY KEY (namespace, time, aggregate, at, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX charges_by_principal ON charges (principal, time);

CREATE TABLE reached (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    position BLOB NOT NULL
) STRICT;

-- Words alone are searched, no phrases: without their places the index is a third of the size.
CREATE VIRTUAL TABLE texts USING fts5 (query, answer, detail = none, tokenize = 'unicode61 remove_diacritics 2');
"""
