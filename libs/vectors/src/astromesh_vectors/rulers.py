"""What counts the tokens of a text."""

from astromesh_native.rulers import Words

__all__ = ["Words"]
