"""The loops of an experiment, made anew from the configuration in its log."""

from __future__ import annotations

import hashlib
from pathlib import Path

from poseloop.errors import InvalidInputError

from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import LoopConfig
from poseloop_server.loop.config_json import loop_from_json
from poseloop_server.record.entries import Header
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
        _require_code(header, config, own_code)

    def make(stream: str, keypoints: tuple[str, ...]) -> Loop:
        return StreamLoop(config, stream, keypoints, began_ns=header.started_ns)

    return make


def other_versions(header: Header) -> dict[str, tuple[str, str]]:
    """Return what ran in another version than there is now: by package the version then, and the one now."""
    now = versions()
    names = header.versions.keys() & now.keys()
    return {name: (header.versions[name], now[name]) for name in sorted(names) if header.versions[name] != now[name]}


def _require_code(header: Header, config: LoopConfig, own_code: bool) -> None:
    recorded = {file.path: file.sha256 for file in header.files}
    named = [path_from(config.folder, name) for name in config.code]
    if not own_code:
        raise InvalidInputError(
            f"the log's stages run your own code, {', '.join(named)}; read it, and allow it with --run-own-code if you "
            "trust it"
        )
    for name in dict.fromkeys((*named, *recorded)):
        path = config.folder / name
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InvalidInputError(
                f"the stage's file {path} can't be read: {error.strerror}; give its folder with --folder"
            ) from None
        if found != recorded.get(name):
            raise InvalidInputError(
                f"the stage's file {path} is not the one that ran: its SHA-256 is {found[:12]}…, and was "
                f"{recorded.get(name, 'not recorded')[:12]}…; give the folder of that version with --folder"
            )
