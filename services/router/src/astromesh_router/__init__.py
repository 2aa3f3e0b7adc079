"""Routes model calls to providers."""
