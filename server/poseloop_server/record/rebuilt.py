"""The loops of an experiment, made anew from the configuration in its log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from poseloop.errors import InvalidInputError

from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.config_json import loop_from_json
from poseloop_server.record.entries import CodeFile, Header, StreamOpened
from poseloop_server.record.header import path_from, versions
from poseloop_server.record.replay import Loop, MakeLoop


def loop_maker(header: Header, own_code: bool = False, folder: Path | None = None) -> MakeLoop:
    """Return what makes the loops of a log's streams.

    Args:
        header: of the log.
        own_code: whether files of own stages may be run. A log may come from anyone, and it names them.
        folder: where they are; None: where they were.

    Raises:
        InvalidInputError: this version can't do what the configuration asks for; or it has own stages, and they may not
            be run, are not there, or are not those that ran.
    """
    place = {} if folder is None else {"folder": str(folder)}
    config = loop_from_json({**header.configuration, **place})
    if config.code:
        _require_permission(config, own_code)
        _require_files(header.files, config.folder)

    def make(opened: StreamOpened) -> Loop:
        _require_files(opened.files, config.folder)
        _require_recorded((*header.files, *opened.files), config, opened.stream)
        return StreamLoop(config, opened.stream, opened.keypoints, began_ns=header.started_ns)

    return make


def other_versions(header: Header) -> dict[str, tuple[str, str]]:
    """Return what ran in another version than there is now: by package the version then, and the one now."""
    now = versions()
    names = header.versions.keys() & now.keys()
    return {name: (header.versions[name], now[name]) for name in sorted(names) if header.versions[name] != now[name]}


def _require_permission(config: LoopConfig, own_code: bool) -> None:
    if not own_code:
        named = ", ".join(path_from(config.folder, name) for name in config.code)
        raise InvalidInputError(
            f"the log's stages run your own code, {named}; read it, and allow it with --run-own-code if you trust it"
        )


def _require_files(files: Iterable[CodeFile], folder: Path) -> None:
    """Check that files are there as they were when they ran."""
    for file in files:
        path = folder / file.path
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InvalidInputError(
                f"the stage's file {path} can't be read: {error.strerror}; give its folder with --folder"
            ) from None
        if found != file.sha256:
            raise InvalidInputError(
                f"the stage's file {path} is not the one that ran: its SHA-256 is {found[:12]}…, and was "
                f"{file.sha256[:12]}…; give the folder of that version with --folder"
            )


def _require_recorded(files: Iterable[CodeFile], config: LoopConfig, stream: str) -> None:
    """Check that the log has the SHA-256 of every file that a stream's configuration names."""
    recorded = {file.path for file in files}
    for name in config.code_of(stream):
        if path_from(config.folder, name) not in recorded:
            raise InvalidInputError(
                f"the log does not say what the stage's file {config.folder / name} was when it ran: its SHA-256 was "
                f"not recorded, so the stream {stream} can't be replayed"
            )
