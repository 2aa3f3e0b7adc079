"""What we call of mammoth 1.13."""

from collections.abc import Callable
from typing import BinaryIO

from . import images as images

class Result:
    value: str

def convert_to_html(fileobj: BinaryIO, *, convert_image: Callable[[object], list[object]] = ...) -> Result: ...
