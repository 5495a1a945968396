"""Imports one file of the user's, with the files beside it, apart from every other module of this process.

Each load is a package with a name of its own, so two files of one name, or one file loaded again after an edit, do not
clash. The file sees its neighbours as a script does: ``import helper`` finds ``helper.py`` beside it, and so does
``from . import helper``. This goes through the file's own ``__import__``, so neither ``sys.path`` nor what other
modules import changes. Nothing is written beside the file, and what is hashed is what was run.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, resolve_name, spec_from_file_location
from itertools import count
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was run: where it is, and the SHA-256 of its bytes."""

    path: Path
    sha256: str


class UserImports:
    """What one file of the user's, and the files beside it, import.

    Args:
        file: absolute.
        stand_ins: modules that these files get by a name, and nobody else does.

    Attributes:
        sources: the files that were run, in this order; it grows where a function imports a neighbour later.
    """

    def __init__(self, file: Path, stand_ins: Mapping[str, ModuleType]) -> None:
        self.sources: list[SourceFile] = []
        self._file = file
        self._stand_ins = dict(stand_ins)
        self._package = f"poseloop_user_{next(_numbers)}"
        self.builtins: dict[str, Any] = {**vars(builtins), "__import__": self._import}

    def load(self) -> ModuleType:
        """Run the file and return its module; what it raises is raised."""
        importlib.invalidate_caches()  # a file may be younger than what the import system knows of its folder
        package = ModuleType(self._package)
        package.__path__ = [str(self._file.parent)]
        sys.modules[self._package] = package
        name = f"{self._package}.{self._file.stem}"
        loader = _Loader(name, str(self._file), self)
        spec = spec_from_file_location(name, self._file, loader=loader)
        assert spec is not None, "a loader was given"
        return self._run(spec)

    def note(self, path: str, content: bytes) -> None:
        """Remember a file that is about to be run."""
        self.sources.append(SourceFile(Path(path), hashlib.sha256(content).hexdigest()))

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What an import statement of these files calls; the names of its parameters are the language's."""
        if level:
            full = resolve_name("." * level + name, str((globals or {}).get("__package__")))
            if full.split(".")[0] == self._package:
                return self._neighbour(full.removeprefix(self._package).removeprefix("."), fromlist, whole=True)
        else:
            top = name.partition(".")[0]
            if top in self._stand_ins:
                return self._stand_in(name, fromlist)
            if self._is_neighbour(top):
                return self._neighbour(name, fromlist, whole=bool(fromlist))
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _stand_in(self, name: str, fromlist: Sequence[str] | None) -> ModuleType:
        if name not in self._stand_ins:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return self._stand_ins[name if fromlist else name.partition(".")[0]]

    def _is_neighbour(self, top: str) -> bool:
        return f"{self._package}.{top}" in sys.modules or self._find(top, [str(self._file.parent)]) is not None

    def _neighbour(self, name: str, fromlist: Sequence[str] | None, *, whole: bool) -> ModuleType:
        """Return ``name``, or with ``whole`` false what stands before its first dot; "" is the package itself."""
        module = self._module(name)
        for part in fromlist or ():
            if part != "*" and hasattr(module, "__path__") and not hasattr(module, part):
                inner = f"{name}.{part}".removeprefix(".")
                if self._find(inner, module.__path__) is not None:
                    self._module(inner)
        return module if whole else self._module(name.partition(".")[0])

    def _module(self, name: str) -> ModuleType:
        full = f"{self._package}.{name}".removesuffix(".")
        if full in sys.modules:
            return sys.modules[full]
        above, _, last = name.rpartition(".")
        parent = self._module(above)
        spec = self._find(name, getattr(parent, "__path__", []))
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = self._run(spec)
        setattr(parent, last, module)
        return module

    def _find(self, name: str, folders: Sequence[str]) -> ModuleSpec | None:
        full = f"{self._package}.{name}"
        spec = PathFinder.find_spec(full, folders)
        if spec is None or spec.loader is None:  # without a loader it is a folder that merely has the name
            return None
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(full, spec.loader.path, self)
        return spec

    def _run(self, spec: ModuleSpec) -> ModuleType:
        assert spec.loader is not None, "`_find` returns none without"
        module = module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses, among others, look their module up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[spec.name]
            raise
        return module


class _Loader(SourceFileLoader):
    """Runs a file as it is now, with the imports of its load; reads and writes no ``__pycache__``."""

    def __init__(self, name: str, path: str, imports: UserImports) -> None:
        super().__init__(name, path)
        self._imports = imports

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002 - the name is the base class's
        """Compile the file."""
        content = self.get_data(self.path)
        self._imports.note(self.path, content)
        code: CodeType = self.source_to_code(content, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Run the file in its module."""
        module.__dict__["__builtins__"] = self._imports.builtins
        super().exec_module(module)
