"""The astromesh command."""
