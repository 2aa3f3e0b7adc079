"""Embedders and vector stores, shared by memory and rag."""
