"""The SQL read model of the log, and its verifier."""
