"""The stages of one stream, one after the other, so that what one of them does wrong ends with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from poseloop.errors import PoseloopError

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import Stage

_END_OF_TIME_NS: Final = 1 << 63


class StageLine:
    """Passes poses through stages.

    Args:
        stages: by the name of their kind, in order.
        problem: told once of each stage that fails.

    Attributes:
        failures: how many poses each stage failed on, by its name: its kind, and where others are of that kind its
            place too, such as ``python 2``.
        at: the name of the stage that is at work; "" where none is.
    """

    def __init__(self, stages: Sequence[tuple[str, Stage]], problem: Callable[[str], None]) -> None:
        self._stages = tuple(stages)
        self._names = _names([kind for kind, _ in stages])
        self._problem = problem
        self._size = (0, 0)
        self._told: set[tuple[str, str]] = set()
        self.failures: Counter[str] = Counter()
        self.at = ""

    def process(self, pose: LoopPose) -> LoopPose:
        """Return the pose to go on with; one that a stage failed on goes on as it was before it, with a doubt.

        The array of keypoints that came in is not written to.
        """
        if self._size != (pose.width, pose.height):
            if self._size != (0, 0):
                self.reset()
            self._size = (pose.width, pose.height)
        for name, (kind, stage) in zip(self._names, self._stages, strict=True):
            self.at = name
            pose = self._through(name, kind, stage, pose)
        self.at = ""
        return pose

    def reset(self) -> None:
        """Let every stage forget what came before."""
        for name, (_, stage) in zip(self._names, self._stages, strict=True):
            self.at = name
            try:
                stage.reset()
            except Exception as error:
                self._tell(name, _as_words(error), " when it was to start anew")
        self.at = ""

    def close(self) -> None:
        """Let stages that have something to bring to an end do so; may be called twice."""
        for name, (_, stage) in zip(self._names, self._stages, strict=True):
            try:
                getattr(stage, "close", _nothing)()
            except Exception as error:
                self._tell(name, _as_words(error), " when it ended")

    def _through(self, name: str, kind: str, stage: Stage, pose: LoopPose) -> LoopPose:
        before = (pose.keypoints, dict(pose.values), list(pose.doubts), pose.time_ns)
        identity = _identity(pose)
        pose.keypoints = pose.keypoints.copy()  # theirs to write to
        try:
            after = stage.process(pose)
            wrong = _wrong(after, identity, before[0].shape[1:])
        except Exception as error:
            wrong = _as_words(error)
        if not wrong:
            return after
        self.failures[name] += 1
        what = f"{wrong} at frame {identity[1]}"
        self._tell(name, what, "; such poses go on without it and fire nothing, and are counted")
        pose.stream, pose.sequence, pose.captured_ns, pose.decided_ns, pose.width, pose.height, pose.names = identity
        pose.keypoints, pose.values, pose.doubts, pose.time_ns = before
        pose.doubts.append(f"stage {kind} failed")  # reasons in records are made of it: it stays as it is
        return pose

    def _tell(self, name: str, what: str, about: str) -> None:
        """Tell of a failure, where the stage has had none of its sort, which what is said about it tells apart."""
        if (name, about) not in self._told:
            self._told.add((name, about))
            self._problem(f"the stage {name} failed: {what}{about}")


def _names(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return what the stages are called: by their kind, and by their place from 1 where it takes that."""
    return tuple(kind if kinds.count(kind) == 1 else f"{kind} {place}" for place, kind in enumerate(kinds, 1))


def _nothing() -> None:
    pass


def _as_words(error: Exception) -> str:
    """Return an error as a part of a sentence, on one line."""
    text = str(error) if isinstance(error, PoseloopError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).rstrip(":.")


_Identity = tuple[str, int, int, int, int, int, tuple[str, ...]]


def _identity(pose: LoopPose) -> _Identity:
    """Return what no stage may change."""
    return (pose.stream, pose.sequence, pose.captured_ns, pose.decided_ns, pose.width, pose.height, pose.names)


def _wrong(pose: object, identity: _Identity, shape: tuple[int, ...]) -> str:
    """Return what is wrong with what a stage returned; "": nothing."""
    if not isinstance(pose, LoopPose):
        return f"it returned {'nothing' if pose is None else f'a {type(pose).__name__}'}, not a pose"
    if _identity(pose) != identity:
        return "it changed what the pose is of: stream, sequence, times, size or names"
    keypoints = pose.keypoints
    if not (isinstance(keypoints, np.ndarray) and keypoints.dtype == np.float32 and keypoints.ndim == 3):
        return "it returned keypoints that are no float32 (instances, keypoints, 3)"
    if keypoints.shape[1:] != shape:
        return f"it returned keypoints of the shape {keypoints.shape}, not (instances, {shape[0]}, {shape[1]})"
    if not all(isinstance(value, float) for value in pose.values.values()):
        return "it added a value that is not a float"
    if not (isinstance(pose.doubts, list) and all(isinstance(doubt, str) for doubt in pose.doubts)):
        return "it made doubts that are no list of texts"
    if not (isinstance(pose.time_ns, int | np.integer) and 0 <= pose.time_ns < _END_OF_TIME_NS):
        return "it set a time that is no number of nanoseconds"
    return ""
