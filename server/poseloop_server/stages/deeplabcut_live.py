"""DeepLabCut-live processors, unchanged: ``- deeplabcut_live: {file: my_processor.py, class: MyProcessor}``.

What a processor is was read from DeepLabCut-live's documentation and interface: ``process(pose, **kwargs)`` of an array
``(keypoints, 3)`` with x, y and likelihood, which returns such an array, and ``save(file)`` at the end.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from pydantic import Field

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.dlclive_stand_in import PoseTime, stand_in_modules
from poseloop_server.stages.user_code import RAISED, StageFailedError, UserClass, UserCodeConfig
from poseloop_server.stages.user_imports import SourceFile

Points = NDArray[np.float32]
_IMPORTED_NAME: Final = re.compile(r"cannot import name '(\w+)'")


class DeepLabCutLiveConfig(UserCodeConfig):
    """A processor, and what is particular to it."""

    save: str | None = Field(
        None, description="File for the processor's `save`, called at the end; one that is there already is kept."
    )
    absent: Literal["nan", "last"] = Field(
        "nan", description="Where an absent keypoint is: nowhere, or where it was last. Its likelihood is 0."
    )


class DeepLabCutLiveStage:
    """Passes the first animal of each pose through a processor.

    Raises:
        InvalidInputError: the class can't be loaded or made, or needs more of ``dlclive`` than is here.
    """

    config: ClassVar[type[DeepLabCutLiveConfig]] = DeepLabCutLiveConfig

    def __init__(self, config: DeepLabCutLiveConfig, context: StageContext) -> None:
        self._config = config
        self._save_to = None if config.save is None else Path(context.folder) / config.save
        if self._save_to is not None and not self._save_to.parent.is_dir():
            raise InvalidInputError(f"the folder {self._save_to.parent} to save to is not there; make it first")
        self._time = PoseTime()
        self._code = self._load(context.folder)
        self._processor: Any = None
        self._process: Callable[..., Any] = _closed
        self._poses = 0
        self._last: Points | None = None
        self._make()

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """The user's file and the neighbours that it imported, with their hashes, for the record."""
        return self._code.sources

    def process(self, pose: LoopPose) -> LoopPose:
        """Return the pose with what the processor made of its first animal.

        Raises:
            StageFailedError: the processor raised, or returned no pose; ``pose`` is as it was.
        """
        points, absent = self._given(pose)
        words: dict[str, object] = {
            "frame_time": self._time.of_day(pose.captured_ns),
            "pose_time": self._time.of_day(pose.decided_ns),
            "record": True,
        }
        self._time.begin(pose.decided_ns)
        try:
            returned = self._process(points.copy(), **{name: words[name] for name in self._words})
        except RAISED as error:
            raise StageFailedError(self._code.failure(error)) from error
        finally:
            self._time.end()
        self._poses += 1
        after = self._checked(returned, points.shape)
        # What was absent stays so, unless the processor has put it somewhere.
        after[absent & ((after == points) | np.isnan(after)).all(axis=1)] = np.nan
        others = pose.keypoints[1:]
        pose.keypoints = np.concatenate([after[np.newaxis], others]) if len(others) else after[np.newaxis]
        return pose

    def reset(self) -> None:
        """End with this processor, as `close` does, and make another; one that has seen no pose is kept.

        Raises:
            StageFailedError: as from `close`; the new one is made all the same.
        """
        if self._processor is not None and not self._poses:
            return
        try:
            self.close()
        finally:
            self._make()

    def close(self) -> None:
        """Let the processor save, where it is asked to, and let go of it; may be called twice.

        Raises:
            StageFailedError: its ``save`` raised or answered that it failed.
        """
        processor = self._processor
        self._processor, self._process = None, _closed
        if processor is None or self._save_to is None or not self._poses:
            return
        path = _free(self._save_to)
        try:
            code = processor.save(str(path))
        except RAISED as error:
            raise StageFailedError(f"{self._code.failure(error)}, when {self._code.name} saved {path}") from error
        if isinstance(code, int) and code < 0:
            raise StageFailedError(f"{self._code.place}: {self._code.name}.save answered {code}: {path} is not saved")

    def _load(self, folder: str) -> UserClass:
        modules = stand_in_modules()
        try:
            return UserClass(self._config, folder, {**modules, "time": self._time.module})
        except InvalidInputError as error:
            if modules and (missing := _wanted_of_dlclive(error.__cause__)):
                place = str(error).partition(": ")[0]
                raise InvalidInputError(
                    f"{place}: it needs {missing} of dlclive, which is not installed here, and poseloop stands in for "
                    "its Processor only; run: pip install deeplabcut-live"
                ) from None
            raise

    def _make(self) -> None:
        self._processor = self._code.make()
        self._process = self._code.require_method(self._processor, "process", "pose")
        if self._save_to is not None:
            self._code.require_method(self._processor, "save", "file")
        parameters = inspect.signature(self._process).parameters.values()
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        words = ("frame_time", "pose_time", "record")
        self._words = words if takes_any else tuple(one.name for one in parameters if one.name in words)
        self._poses = 0
        self._last = None

    def _given(self, pose: LoopPose) -> tuple[Points, NDArray[np.bool_]]:
        """The first animal as a processor knows it, and which of its keypoints are absent."""
        if len(pose.keypoints):
            points = np.array(pose.keypoints[0], np.float32)
        else:
            points = np.full((len(pose.names), 3), np.nan, np.float32)
        absent: NDArray[np.bool_] = np.asarray(~np.isfinite(points).all(axis=1))
        points[absent] = (np.nan, np.nan, 0.0)
        if self._config.absent == "last":
            if self._last is None:
                self._last = np.full_like(points, ((pose.width - 1) / 2, (pose.height - 1) / 2, 0.0))
            points[absent, :2] = self._last[absent, :2]
            self._last = points
        return points, absent

    def _checked(self, returned: object, shape: tuple[int, ...]) -> Points:
        try:
            points = np.array(returned, np.float32)
        except (TypeError, ValueError):
            points = np.empty(0, np.float32)
        if returned is None or points.shape != shape:
            what = "nothing" if returned is None else f"an array of {points.shape}" if points.size else "no numbers"
            raise StageFailedError(
                f"{self._code.place}: {self._code.name}.process returned {what}; it must return the pose, an array of "
                f"{shape}"
            )
        return points


def _wanted_of_dlclive(error: BaseException | None) -> str:
    """What the file wanted of the stand-in and did not get; "" where it failed for another reason."""
    match error:
        case ImportError(name=str() as module) if module.split(".")[0] == "dlclive":
            name = _IMPORTED_NAME.search(str(error))  # Python 3.11 tells it nowhere else
            return module if name is None else name[1]
        case AttributeError(obj=module, name=str() as name) if getattr(module, "__name__", "").startswith("dlclive"):
            return name
    return ""


def _free(path: Path) -> Path:
    """The path, or with a number where something is there already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _closed(*_: object, **__: object) -> None:
    raise RuntimeError("this processor was closed; reset the stage to begin anew")
