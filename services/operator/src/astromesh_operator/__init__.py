"""Turns a config folder into validated resources."""
