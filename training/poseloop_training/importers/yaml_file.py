"""YAML files of other programs: plain values only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from poseloop.errors import InvalidInputError

_MOST_BYTES = 4_000_000


def read_yaml(path: Path) -> Any:
    """Return what stands in a YAML file, plain values only.

    Raises:
        InvalidInputError: it does not exist, is far too large, or is no YAML.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist; restore it, or give another one.")
    if path.stat().st_size > _MOST_BYTES:
        raise InvalidInputError(f"{path} is larger than {_MOST_BYTES // 1_000_000} MB, which no configuration is.")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        first = (str(error).splitlines() or ["damaged"])[0][:120]
        raise InvalidInputError(f"{path} is no YAML ({first}); restore it.") from None
