"""Pipelines over gRPC. Over HTTP they stand in `routes.rag` and `routes.ingestions`."""
