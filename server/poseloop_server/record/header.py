"""The first line of a log: what was run, with what, since when."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poseloop.clock import clock_id, now_ns

from poseloop_server.providers import versions_of
from poseloop_server.record.entries import FORMAT, CodeFile, ModelFile
from poseloop_server.stages.user_imports import SourceFile


@dataclass(frozen=True, slots=True)
class Start:
    """When an experiment began, on both clocks.

    Attributes:
        utc: wall time.
        ns: of the monotonic clock, at the same moment.
    """

    utc: datetime
    ns: int

    @classmethod
    def now(cls) -> Start:
        """Read both clocks; what lies between the two readings is halved."""
        before = now_ns()
        utc = datetime.now(UTC)
        return cls(utc, (before + now_ns()) // 2)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a log's header says of an experiment.

    Attributes:
        name: of the experiment.
        configuration: as read, its text and all values; a replay rebuilds the loop from it.
        server_id: of the server that runs it.
        models: that the server has, as name and SHA-256 of the file.
        files: of the user's own stages that were loaded for the streams whose model is known at the start.
    """

    name: str
    configuration: Mapping[str, Any]
    server_id: str = ""
    models: tuple[ModelFile, ...] = ()
    files: tuple[CodeFile, ...] = ()

    def header(self, start: Start) -> dict[str, Any]:
        """Return the fields of the header."""
        return {
            "format": FORMAT,
            "experiment": self.name,
            "started_utc": start.utc.isoformat(),
            "started_ns": start.ns,
            "clock_id": clock_id(),
            "server_id": self.server_id,
            "configuration": dict(self.configuration),
            "files": [each.model_dump() for each in self.files],
            "models": [each.model_dump() for each in self.models],
            "versions": versions(),
            "platform": platform.platform(),
        }


def code_files(sources: Iterable[SourceFile], folder: Path) -> tuple[CodeFile, ...]:
    """Return what own stages have run, each file once; one that was run in two versions stands there twice."""
    found = {(path_from(folder, str(source.path)), source.sha256) for source in sources}
    return tuple(CodeFile(path=path, sha256=sha256) for path, sha256 in sorted(found))


def path_from(folder: Path, path: str) -> str:
    """Return the path of a file from a folder on, with slashes; of one that lies elsewhere the whole path."""
    file = (folder / path).resolve()
    try:
        return file.relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(file)


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on, by package; of those that are installed."""
    return {"python": platform.python_version(), **versions_of("poseloop", "numpy", "pydantic")}
