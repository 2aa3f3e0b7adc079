"""Finds personal data and secrets in a text. Every detector is a pure function whose time is linear in the text."""
