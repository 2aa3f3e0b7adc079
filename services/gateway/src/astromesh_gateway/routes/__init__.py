"""The HTTP and WebSocket surface, a module for each group of paths."""
