"""Semantic memory: what was said in runs, found again by meaning."""
