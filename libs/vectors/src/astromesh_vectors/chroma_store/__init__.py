"""A vector store in Chroma: a folder beside us, or a server. Needs the extra `chroma`."""
