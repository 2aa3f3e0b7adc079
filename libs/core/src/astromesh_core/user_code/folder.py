"""Imports the modules of one config folder under names of their own, so that two meshes in a process, or two states of
the folder, never meet: neither in `sys.modules`, nor through a plain `import sibling` inside a module.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from itertools import count
from pathlib import Path
from types import CodeType, ModuleType

_SERIAL = count(1)

Stamp = frozenset[tuple[str, int, int]]
"""The state of a folder's modules: path, time of change, size."""


def stamp_of(folder: Path) -> Stamp:
    """Returns the state of every module in the folder, to be compared; empty where there is no folder."""
    return frozenset(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in folder.rglob("*.py"):
        # Gone since it was listed, or an editor's link to nowhere.
        with suppress(FileNotFoundError):
            stat = path.stat()
            yield str(path), stat.st_mtime_ns, stat.st_size


class FolderModules(MetaPathFinder):
    """One state of a folder: a private package with the folder's modules. `open` it before use, `close` it after."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._package = f"_astromesh_user_code_{next(_SERIAL)}"

    def open(self) -> None:
        """Makes the modules importable, by `load` alone."""
        package = ModuleType(self._package)
        package.__path__ = [str(self._folder)]
        sys.modules[self._package] = package
        sys.meta_path.insert(0, self)

    def close(self) -> None:
        """Forgets the modules. What is running goes on; it can import nothing more from the folder."""
        sys.meta_path.remove(self)
        for name in [name for name in sys.modules if name == self._package or name.startswith(f"{self._package}.")]:
            del sys.modules[name]

    def has(self, module: str) -> bool:
        """Tells whether the folder has the module, or the package that it is in."""
        top = self._folder / module.partition(".")[0]
        return top.with_suffix(".py").is_file() or (top / "__init__.py").is_file()

    def holds(self, module: str) -> bool:
        """Tells whether the folder has the source of this very module."""
        path = self._folder.joinpath(*module.split("."))
        return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()

    def load(self, module: str) -> ModuleType:
        """Imports a module of the folder, once. Raises whatever its code raises."""
        importlib.invalidate_caches()
        return importlib.import_module(f"{self._package}.{module}")

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds what is under the private package, and nothing else."""
        if not fullname.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader) and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self)
            spec.cached = None
        return spec

    def import_for(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Stands in for `__import__` in the folder's modules: a sibling comes first, as beside a script."""
        if level or not self.has(name):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{self._package}.{name}", globals, locals, fromlist or ("",), 0)
        return found if fromlist else sys.modules[f"{self._package}.{name.partition('.')[0]}"]


class _Loader(SourceFileLoader):
    """Compiles from source each time: bytecode files litter the folder, and miss a second edit in a second."""

    def __init__(self, fullname: str, path: str, modules: FolderModules) -> None:
        super().__init__(fullname, path)
        self._modules = modules

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._modules.import_for}
        super().exec_module(module)
