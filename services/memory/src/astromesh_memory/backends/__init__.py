"""Where conversations are kept: SQLite, Redis, PostgreSQL."""
