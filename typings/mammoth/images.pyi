"""What we call of mammoth 1.13."""

from collections.abc import Callable

def img_element(func: Callable[[object], dict[str, str]]) -> Callable[[object], list[object]]: ...
