"""A configuration as JSON: what the log's header holds, so that a replay rebuilds the same loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from poseloop.errors import InvalidInputError

from poseloop_server.loop.config import LoopConfig, read_loop
from poseloop_server.loop.registered import Kinds
from poseloop_server.loop.yaml_lines import Document

VERSION: Final = 1


def loop_to_json(config: LoopConfig) -> dict[str, Any]:
    """Return the whole configuration, defaults included, as the log's header holds it."""
    return {
        "version": VERSION,
        "file": config.source.file,
        "folder": str(config.folder.absolute()),
        "text": config.source.text,
        "values": config.model_dump(mode="json"),
    }


def loop_from_json(header: Mapping[str, Any], kinds: Kinds | None = None) -> LoopConfig:
    """Return what `loop_to_json` was given.

    Raises:
        InvalidInputError: it is of another version, or this version of poseloop can't do what it asks for.
    """
    if header.get("version") != VERSION:
        raise InvalidInputError(
            f"the log's configuration has the version {header.get('version')!r}, and only {VERSION} can be read; "
            "use the version of poseloop that wrote the log"
        )
    document = Document(str(header["file"]), header["values"], str(header.get("text", "")))
    return read_loop(document, Path(str(header["folder"])), kinds)
