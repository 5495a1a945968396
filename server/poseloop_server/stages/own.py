"""Own stages: ``- python: {file: my_stage.py, class: MyStage, options: {...}}`` (docs/own-stages.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import StageContext
from poseloop_server.stages.user_code import RAISED, StageFailedError, UserClass, UserCodeConfig
from poseloop_server.stages.user_imports import SourceFile


class PythonConfig(UserCodeConfig):
    """A class with ``process(pose)``, which returns the pose to go on with, and perhaps ``reset()``."""


class OwnStage:
    """Passes poses through an instance of the user's class.

    What it returns is checked, and where it fails the pose is left as it was, so that a stage's mistake ends here.

    Raises:
        InvalidInputError: the class can't be loaded or made; the text names the line.
    """

    config: ClassVar[type[PythonConfig]] = PythonConfig

    def __init__(self, config: PythonConfig, context: StageContext) -> None:
        self._code = UserClass(config, context.folder)
        self._instance: Any = None
        self._process: Callable[[LoopPose], object] = _missing
        self._used = False
        self._make()

    @property
    def sources(self) -> tuple[SourceFile, ...]:
        """The user's file and the neighbours that it imported, with their hashes, for the record."""
        return self._code.sources

    def process(self, pose: LoopPose) -> LoopPose:
        """Return what the user's ``process`` makes of a pose.

        Raises:
            StageFailedError: it raised, or returned what is no pose of this stream; ``pose`` is as it was.
        """
        before = (pose.keypoints, dict(pose.values), list(pose.doubts), pose.time_ns)
        pose.keypoints = pose.keypoints.copy()  # theirs to write to
        self._used = True
        try:
            try:
                returned = self._process(pose)
            except StageFailedError:
                raise
            except RAISED as error:
                raise StageFailedError(self._code.failure(error)) from error
            return self._checked(returned, pose)
        except StageFailedError:
            pose.keypoints, pose.values, pose.doubts, pose.time_ns = before
            raise

    def reset(self) -> None:
        """Call the user's ``reset``; a class without one is made anew, once it has seen a pose.

        Raises:
            StageFailedError: it raised.
            InvalidInputError: it could not be made anew.
        """
        reset = getattr(self._instance, "reset", None)
        if reset is None:
            if self._used:
                # The old one goes first: a port that it holds could not be opened by the new one.
                self._instance, self._process = None, _missing
                self._make()
            return
        try:
            reset()
        except RAISED as error:
            raise StageFailedError(self._code.failure(error)) from error

    def _make(self) -> None:
        self._instance = self._code.make()
        self._process = self._code.require_method(self._instance, "process", "pose")
        self._used = False

    def _checked(self, pose: object, given: LoopPose) -> LoopPose:
        """Return the pose in the types that the rest of the loop relies on."""
        code = self._code
        if not isinstance(pose, LoopPose):
            raise StageFailedError(
                f"{code.place}: {code.name}.process returned {_kind(pose)}; it must end with return pose"
            )
        keypoints = np.asarray(pose.keypoints)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (len(given.names), 3) or pose.names != given.names:
            raise StageFailedError(
                f"{code.place}: {code.name}.process made keypoints of the shape {keypoints.shape}; they must stay "
                f"(instances, {len(given.names)}, 3), with the names that they came with"
            )
        if keypoints.dtype != np.float32:
            if keypoints.dtype.kind not in "fiu":
                raise StageFailedError(f"{code.place}: {code.name}.process made keypoints that are no numbers")
            pose.keypoints = keypoints.astype(np.float32)
        for name, value in pose.values.items():
            if type(value) is not float:
                pose.values[name] = self._number(name, value)
        return pose

    def _number(self, name: str, value: object) -> float:
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            code = self._code
            raise StageFailedError(
                f"{code.place}: {code.name}.process put {_kind(value)} into pose.values[{name!r}]; it must be a number"
            ) from None


def _missing(_: LoopPose) -> object:
    raise StageFailedError("it could not be made anew when the stream began again")


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
