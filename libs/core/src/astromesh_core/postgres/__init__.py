"""PostgreSQL for whoever keeps rows there: connections, schema versions, errors. Needs the extra `postgres`."""
