"""The tables of pgvector collections, as SQL. A collection's own name stands in a row and in no identifier.

Each collection has a table of documents, keyed by the SHA-256 of their ids (which may be longer than an index entry),
and one of passages, so that its index has one dimension. Texts hold no NUL: see `rows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, LiteralString, NamedTuple, TypeAlias

from psycopg.sql import SQL, Composed, Identifier
from psycopg.sql import Literal as Constant

from astromesh_core.postgres.migrations import SCHEMA, Statement

Metric: TypeAlias = Literal["cosine", "ip", "l2"]

OPERATORS: Final[dict[Metric, tuple[LiteralString, LiteralString]]] = {
    "cosine": ("<=>", "vector_cosine_ops"),
    "ip": ("<#>", "vector_ip_ops"),
    "l2": ("<->", "vector_l2_ops"),
}
"""A metric's operator and operator class (https://github.com/pgvector/pgvector#indexing)."""

MOST_INDEXED: Final = 2000
"""Dimensions of a vector that HNSW takes; longer ones are searched one by one."""

MOST_DIMENSIONS: Final = 16_000

_MOST_INLINE: Final = 1000
"""Dimensions of a vector that fits into a page beside its row, where a scan reads it fastest."""

_INLINE_BYTES: Final = (8160, 4080)
"""Of a row that stays as it is, with a vector inline or without. At the default of 2,040 the words of most passages
would lie compressed in another table, and ranking by them would take thirty times as long."""

_WORD_KINDS: Final = "asciiword, word, numword, int, uint, float, sfloat, version"

COMPONENT: Final = "vectors"

MIGRATIONS: Final[tuple[tuple[Statement, ...], ...]] = (
    (
        # Porter's endings and no stop words, as the keywords of the embedded store have it.
        SQL("CREATE TEXT SEARCH DICTIONARY astromesh.porter (TEMPLATE = pg_catalog.snowball, LANGUAGE = porter)"),
        SQL('CREATE TEXT SEARCH CONFIGURATION astromesh.words (PARSER = pg_catalog."default")'),
        SQL(f"ALTER TEXT SEARCH CONFIGURATION astromesh.words ADD MAPPING FOR {_WORD_KINDS} WITH astromesh.porter"),
        SQL(
            "CREATE TABLE astromesh.vector_collections (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " name text NOT NULL UNIQUE, model text NOT NULL, dimension integer NOT NULL,"
            " passages bigint NOT NULL DEFAULT 0, words bigint NOT NULL DEFAULT 0,"
            " created_at timestamptz NOT NULL DEFAULT now())"
        ),
    ),
)


class Totals(NamedTuple):
    """What a collection holds."""

    passages: int
    words: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of one collection's tables, and of what pgvector brings: its schema stands before each."""

    number: int
    extension_schema: str
    metric: Metric

    @property
    def documents(self) -> Identifier:
        return Identifier(SCHEMA, f"vector_documents_{self.number}")

    @property
    def passages(self) -> Identifier:
        return Identifier(SCHEMA, f"vector_passages_{self.number}")

    @property
    def distance(self) -> Composed:
        """The operator between two vectors."""
        operator, _ = OPERATORS[self.metric]
        return SQL("OPERATOR({}." + operator + ")").format(Identifier(self.extension_schema))

    def similarity(self, distance: float) -> float:
        """The cosine of two unit vectors at this distance, which may leave [-1, 1] by a hair."""
        match self.metric:
            case "cosine":
                cosine = 1.0 - distance
            case "ip":
                cosine = -distance
            case "l2":
                cosine = 1.0 - distance * distance / 2.0
        return max(-1.0, min(1.0, cosine))

    def making(self, dimension: int) -> list[Composed]:
        """Makes both tables and all indexes but that of the vectors."""
        names = {"documents": self.documents, "passages": self.passages}
        vector = SQL("{}.vector({})").format(Identifier(self.extension_schema), Constant(dimension))
        inline = dimension <= _MOST_INLINE
        storage, bytes_kept = SQL("PLAIN" if inline else "EXTERNAL"), Constant(_INLINE_BYTES[not inline])
        return [
            SQL(
                "CREATE TABLE {documents} (key bytea PRIMARY KEY, id text NOT NULL, sha256 bytea NOT NULL,"
                " metadata jsonb NOT NULL, text text NOT NULL)"
            ).format(**names),
            SQL(
                "CREATE TABLE {passages} (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                " document bytea NOT NULL REFERENCES {documents}, ordinal integer NOT NULL, source text NOT NULL,"
                " first bigint NOT NULL, past bigint NOT NULL, headings jsonb NOT NULL, text text NOT NULL,"
                " metadata jsonb NOT NULL, length integer NOT NULL, words tsvector NOT NULL,"
                " embedding {vector} NOT NULL, UNIQUE (document, ordinal)) WITH (toast_tuple_target = {kept})"
            ).format(**names, vector=vector, kept=bytes_kept),
            SQL("ALTER TABLE {passages} ALTER COLUMN embedding SET STORAGE {storage}").format(**names, storage=storage),
            SQL("CREATE INDEX ON {passages} USING gin (metadata jsonb_path_ops)").format(**names),
            SQL("CREATE INDEX ON {passages} USING gin (words)").format(**names),
        ]

    def index(self, metric: Metric) -> str:
        """The name of the vectors' index under a metric; it stands in our schema."""
        return f"vector_passages_{self.number}_{metric}"

    def making_index(self) -> Composed:
        """Makes the index of the vectors under this metric."""
        _, operators = OPERATORS[self.metric]
        return SQL("CREATE INDEX {name} ON {passages} USING hnsw (embedding {schema}.{operators})").format(
            name=Identifier(self.index(self.metric)),
            passages=self.passages,
            schema=Identifier(self.extension_schema),
            operators=Identifier(operators),
        )
