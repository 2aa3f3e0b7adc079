"""Ingests documents and retrieves passages."""
