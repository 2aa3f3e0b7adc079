"""What agents remember, for callers: sessions, persons, and what is found beside conversations."""
