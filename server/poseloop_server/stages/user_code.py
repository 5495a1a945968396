"""A class in a file of the user's: loaded, checked and made, with each mistake said in one sentence."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from poseloop.errors import InvalidInputError, PoseloopError
from pydantic import Field

from poseloop_server.stages.base import StageConfig
from poseloop_server.stages.user_imports import SourceFile, UserImports

# What code of the user's may raise: `exit()` in it must not end the server.
RAISED: Final = (Exception, SystemExit)


class StageFailedError(PoseloopError):
    """A stage of the user's failed on a pose; the text names the line in their file."""


class UserCodeConfig(StageConfig):
    """Which class in which file."""

    file: str = Field(min_length=1, description="A Python file; where it is relative, to this configuration's folder.")
    class_: str = Field(alias="class", min_length=1, description="The name of a class in it.")
    options: dict[str, Any] = Field(default_factory=dict, description="What the class is made with, by keyword.")


class UserClass:
    """One class of one file, which `make` makes instances of.

    Args:
        config: file, class and options.
        folder: that a relative file starts from.
        stand_ins: modules that the file gets by a name, and nobody else does.

    Attributes:
        name: of the class.

    Raises:
        InvalidInputError: the file is not there, can't be run, or has no such class.
    """

    def __init__(self, config: UserCodeConfig, folder: str, stand_ins: Mapping[str, ModuleType] | None = None) -> None:
        self.name = config.class_
        self._shown = Path(folder) / config.file
        self._options = config.options
        file = Path(os.path.abspath(self._shown))  # noqa: PTH100 - `resolve` would follow a link away from neighbours
        if not file.is_file():
            raise InvalidInputError(f"there is no file {self._shown}{_nearest_file(self._shown)}")
        self._folder = file.parent
        self._imports = UserImports(file, stand_ins or {})
        module = self._load()
        found = getattr(module, self.name, None)
        if not isinstance(found, type):
            raise InvalidInputError(self._no_class(module, found))
        self._class: type[Any] = found

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """The file, then the neighbours that it imported, with their hashes."""
        return tuple(self._imports.sources)

    @property
    def place(self) -> str:
        """Where the class begins, such as ``my_stage.py, line 4``."""
        return self._place_of(self._class)

    def make(self) -> Any:
        """Return a new instance, made with the options.

        Raises:
            InvalidInputError: it does not take these options, or refuses their values.
        """
        self._check_options()
        try:
            return self._class(**self._options)
        except RAISED as error:
            raise InvalidInputError(
                f"{self.failure(error)}, when {self.name} was made; correct it, or the options in the configuration"
            ) from error

    def require_method(self, instance: object, method: str, argument: str) -> Any:
        """Return a method that can be called with one positional argument.

        Raises:
            InvalidInputError: there is none, or it can't be called so; ``argument`` is what it should be called.
        """
        found = getattr(instance, method, None)
        if not callable(found):
            raise InvalidInputError(
                f"{self.place}: the class {self.name} has no method {method}; "
                f"write def {method}(self, {argument}), which returns the {argument}"
            )
        try:
            inspect.signature(found).bind(argument)
        except TypeError:
            raise InvalidInputError(
                f"{self._place_of(found)}: {self.name}.{method} must take one argument beside self, the {argument}; "
                f"write def {method}(self, {argument})"
            ) from None
        return found

    def failure(self, error: BaseException) -> str:
        """Return what the user's code raised as one line: ``my_stage.py, line 12: ZeroDivisionError: ...``."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{self._line(error.filename, error.lineno)}: {error.msg}{_quoted(error.text)}"
        what = type(error).__name__
        said = " ".join(str(error).split())
        return f"{self._raised_at(error)}: {what}: {said}" if said else f"{self._raised_at(error)}: {what}"

    def _load(self) -> ModuleType:
        try:
            return self._imports.load()
        except OSError as error:
            if self._imports.sources:
                raise InvalidInputError(f"{self.failure(error)}; correct it") from error
            raise InvalidInputError(f"{self._shown} can't be read: {error.strerror}") from None
        except ModuleNotFoundError as error:
            raise InvalidInputError(
                f"{self._raised_at(error)}: there is no module {error.name!r}; install it into the environment of "
                "poseloop, or put its file beside this one"
            ) from error
        except RAISED as error:
            raise InvalidInputError(f"{self.failure(error)}; correct it") from error

    def _no_class(self, module: ModuleType, found: object) -> str:
        if found is not None:
            return f"{self._shown}: {self.name} is a {type(found).__name__}, not a class"
        classes = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        if not classes:
            return f"{self._shown} has no class {self.name!r}, nor any other; write class {self.name}"
        return f"{self._shown} has no class {self.name!r}; {_nearest(self.name, classes)}"

    def _check_options(self) -> None:
        try:
            parameters = inspect.signature(self._class).parameters.values()
        except (TypeError, ValueError):  # a class in C, or with a metaclass of its own, may not tell
            return
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        names = [one.name for one in named]
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        place = self._place_of(self._class.__init__)
        for option in self._options:
            if option not in names and not takes_any:
                hint = _nearest(option, names) if names else "it takes none"
                raise InvalidInputError(f"{place}: {self.name} takes no option {option!r}; {hint}")
        missing = [one.name for one in named if one.default is one.empty and one.name not in self._options]
        if missing:
            raise InvalidInputError(
                f"{place}: {self.name} needs {', '.join(missing)}; write it in the configuration, under its options"
            )

    def _place_of(self, thing: Any) -> str:
        """The line where a class or a function of the user's begins; the file alone where that can't be told."""
        code = getattr(inspect.unwrap(thing), "__code__", None)
        if code is not None:
            return self._line(code.co_filename, code.co_firstlineno)
        try:
            _, line = inspect.getsourcelines(thing if isinstance(thing, type) else self._class)
        except (OSError, TypeError):
            return str(self._shown)
        return f"{self._shown}, line {line}"

    def _raised_at(self, error: BaseException) -> str:
        """The innermost line of the user's files that an exception passed."""
        place, trace = str(self._shown), error.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if any(file == str(source.path) for source in self._imports.sources):
                place = self._line(file, trace.tb_lineno)
            trace = trace.tb_next
        return place

    def _line(self, file: str, line: int | None) -> str:
        path = Path(file)
        if path.is_relative_to(self._folder):
            path = self._shown.parent / path.relative_to(self._folder)
        return f"{path}, line {line}" if line else str(path)


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"


def _nearest_file(path: Path) -> str:
    files = [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, files, n=1)
    return f"; did you mean {near[0]}?" if near else "; a relative path starts from the configuration's folder"


def _quoted(text: str | None) -> str:
    return f" in {text.strip()!r}" if text and text.strip() else ""
