"""The models of a server by name, each with the thread that owns it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import grpc

from poseloop_server.model import PoseModel
from poseloop_server.refusal import RefusedError, invalid, unavailable
from poseloop_server.scheduler import Scheduler

_log = logging.getLogger(__name__)


class ModelRegistry:
    """Loads, finds, swaps and unloads models; used on the event loop's thread, the work itself is done off it.

    Args:
        load: makes a `PoseModel` of a file and a name; may take seconds.
        start: gives a model its thread.
    """

    def __init__(self, load: Callable[[Path, str | None], PoseModel], start: Callable[[PoseModel], Scheduler]) -> None:
        self._load = load
        self._start = start
        self._schedulers: dict[str, Scheduler] = {}
        self._loading: set[str] = set()

    @property
    def schedulers(self) -> list[Scheduler]:
        """The models' threads, in the order of loading."""
        return list(self._schedulers.values())

    async def load(self, path: Path, name: str | None = None) -> Scheduler:
        """Load a model and make it available.

        Raises:
            RefusedError: a model of that name is there already.
            PoseloopError: the file is not a sound model.
        """
        wanted = name or path.stem
        if wanted in self._schedulers or wanted in self._loading:
            raise RefusedError(
                grpc.StatusCode.ALREADY_EXISTS, "name", f"a model {wanted!r} is loaded already; choose another name."
            )
        self._loading.add(wanted)
        try:
            model = await asyncio.to_thread(self._load, path, wanted)
        finally:
            self._loading.discard(wanted)
        scheduler = self._schedulers[wanted] = self._start(model)
        return scheduler

    async def swap(self, name: str, path: Path) -> Scheduler:
        """Load another version of a model and let it take over between two inferences, under the streams that run.

        Raises:
            RefusedError: there is no such model, it is being swapped already, or the version does not fit its streams.
            PoseloopError: the file is not a sound model.
        """
        scheduler = self._loaded(name)
        if name in self._loading:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "name",
                f"the model {name!r} is being swapped already; try again when that is done.",
            )
        self._loading.add(name)
        try:
            model = await asyncio.to_thread(self._load, path, name)
        finally:
            self._loading.discard(name)
        if self._loaded(name) is not scheduler:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, "name", f"the model {name!r} was loaded anew meanwhile; try again."
            )
        # From here to the swap nothing is awaited, so that no stream opens in between.
        if scheduler.streams and (differences := _differences(scheduler.model, model)):
            streams = ", ".join(stream.identity.name for stream in scheduler.streams)
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "file",
                f"{path.name!r} can't take over from the model {name!r} while {streams} runs on it: "
                f"{'; '.join(differences)}. End that first, or load the file under another name.",
            )
        swap = scheduler.swap(model)
        await asyncio.to_thread(scheduler.wait_for, swap)
        _log.info("model %s: %s (%s) has taken over", name, path.name, model.sha256[:12])
        return scheduler

    def find(self, name: str) -> Scheduler:
        """Return the thread of a model; an empty name means the only one.

        Raises:
            RefusedError: there is none of that name, or no name was given and there are several.
        """
        if not self._schedulers:
            raise unavailable("the server has no model yet; wait until its health is SERVING.")
        loaded = ", ".join(sorted(self._schedulers))
        if not name:
            if len(self._schedulers) > 1:
                raise invalid("model", f"the server has several models: {loaded}; name one.")
            return next(iter(self._schedulers.values()))
        if name not in self._schedulers:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "model", f"no model {name!r} is loaded; there is {loaded}.")
        return self._schedulers[name]

    async def unload(self, name: str) -> None:
        """Take a model away and end its thread.

        Raises:
            RefusedError: it is not loaded, or a stream uses it.
        """
        scheduler = self._loaded(name)
        if scheduler.streams:
            streams = ", ".join(stream.identity.name for stream in scheduler.streams)
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, "name", f"the model {name!r} is used by {streams}; end that first."
            )
        del self._schedulers[name]
        await asyncio.to_thread(scheduler.stop)

    async def stop(self) -> None:
        """End every thread."""
        schedulers, self._schedulers = self.schedulers, {}
        for scheduler in schedulers:
            await asyncio.to_thread(scheduler.stop)

    def _loaded(self, name: str) -> Scheduler:
        scheduler = self._schedulers.get(name)
        if scheduler is None:
            raise RefusedError(grpc.StatusCode.NOT_FOUND, "name", f"no model {name!r} is loaded.")
        return scheduler


def _differences(old: PoseModel, new: PoseModel) -> list[str]:
    """Return in words what would change for the streams of a model if another one took over."""
    before, after = old.spec, new.spec
    found = []
    if before.keypoints != after.keypoints:
        found.append(f"its keypoints are {', '.join(after.keypoints)} instead of {', '.join(before.keypoints)}")
    if before.color != after.color:
        found.append(f"it takes {after.color} frames instead of {before.color} ones")
    if before.max_animals != after.max_animals:
        found.append(f"it finds up to {after.max_animals} animals instead of {before.max_animals}")
    for side, fixed_before, fixed_after in (
        ("width", old.fixed_width, new.fixed_width),
        ("height", old.fixed_height, new.fixed_height),
    ):
        if fixed_after not in (None, fixed_before):
            found.append(f"it only takes frames of {side} {fixed_after}")
    return found
