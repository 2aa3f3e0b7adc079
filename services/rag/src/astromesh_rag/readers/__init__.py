"""From the bytes of a file to its text, a module a format. Pure: bytes come in, and nothing is fetched."""
