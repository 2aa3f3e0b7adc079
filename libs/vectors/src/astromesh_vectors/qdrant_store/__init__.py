"""A vector store in Qdrant: a folder beside us, or a server. Needs the extra `qdrant`."""
