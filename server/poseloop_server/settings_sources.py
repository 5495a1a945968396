"""Puts the settings together: from a YAML file, the environment and the command line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poseloop.errors import InvalidInputError
from pydantic import ValidationError

from poseloop_server.settings import Settings

ENVIRONMENT_PREFIX = "POSELOOP_"


def load_settings(
    file: Path | None = None, flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Put the settings together from a YAML file, the environment and flags.

    Args:
        file: the YAML file, if there is one.
        flags: keys given on the command line; None values and empty lists count as not given.
        environment: `os.environ` where None.

    Raises:
        InvalidInputError: a key is unknown or a value is not valid; the text says where it came from.
    """
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if file is not None:
        layers.append((str(file), _read_file(file)))
    layers.append(("the environment", _read_environment(os.environ if environment is None else environment)))
    layers.append(("the command line", {key: value for key, value in (flags or {}).items() if value not in (None, [])}))
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for where, values in layers:
        for key, value in values.items():
            _refuse_unknown(key, where)
            merged[key], origin[key] = value, where
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"{key} (from {origin[key]}): {message}") from None


def _read_file(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"the configuration {file} can't be read: {error.strerror}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # such as a date that no month has
        detail = " ".join(str(error).split())
        raise InvalidInputError(f"the configuration {file} is not valid YAML: {detail}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidInputError(f"the configuration {file} must hold `key: value` lines, not {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def _read_environment(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Take the variables that name a key; one that nearly does is a typing error, any other is not meant for us."""
    found = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if key in Settings.model_fields:
            found[key] = value
        elif near := difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.8):
            raise InvalidInputError(
                f"the environment variable {variable} is unknown; did you mean {ENVIRONMENT_PREFIX}{near[0].upper()}?"
            )
    return found


def _refuse_unknown(key: str, where: str) -> None:
    if key in Settings.model_fields:
        return
    near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0)
    raise InvalidInputError(f"{where}: the key {key!r} is unknown; did you mean {near[0]!r}?")
