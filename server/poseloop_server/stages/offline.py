"""The same stages on recorded poses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from poseloop.errors import InvalidInputError

from poseloop_server.loop.pose import LoopPose
from poseloop_server.stages.base import Stage


def run(
    stages: Sequence[Stage],
    times_s: ArrayLike,
    keypoints: ArrayLike,
    size: tuple[int, int],
    names: Sequence[str],
    *,
    latency_ms: float = 0.0,
) -> NDArray[np.float32]:
    """Return recorded poses as the stages would have given them live, one after the other.

    The stages start anew and are left with what the last pose made of them::

        calm = run([OneEuro(OneEuroConfig(), StageContext("cage", names))], times_s, keypoints, (640, 480), names)

    Args:
        stages: in their order; an empty list gives the poses back.
        times_s: ``(T,)``, when the frames were captured, in seconds from anywhere, never going back.
        keypoints: ``(T, A, K, 3)`` or, of one animal, ``(T, K, 3)``: x, y in pixels of the frame and confidence; NaN
            where absent.
        size: width and height of the frames, in pixels.
        names: of the keypoints.
        latency_ms: from capture to the stages, for those that predict.

    Returns:
        float32 of the shape of ``keypoints``.

    Raises:
        InvalidInputError: the shapes don't fit together, or a time is not finite or goes back.
    """
    poses = np.asarray(keypoints, np.float32)
    times = np.asarray(times_s, np.float64)
    _check(times, poses, names)
    captured_ns = np.round((times - times[:1]) * 1e9).astype(np.int64).tolist()
    for stage in stages:
        stage.reset()
    staged = np.empty_like(poses)
    for index, captured in enumerate(captured_ns):
        decided = captured + round(latency_ms * 1e6)
        shown = poses[index].reshape(-1, len(names), 3).copy()
        pose = LoopPose("", index, captured, decided, captured, size[0], size[1], tuple(names), shown)
        for stage in stages:
            pose = stage.process(pose)
        staged[index] = pose.keypoints.reshape(poses.shape[1:])
    return staged


def _check(times: NDArray[np.float64], poses: NDArray[np.float32], names: Sequence[str]) -> None:
    if poses.ndim not in (3, 4) or poses.shape[-2:] != (len(names), 3):
        wanted = f"(times, animals, {len(names)}, 3) or (times, {len(names)}, 3)"
        raise InvalidInputError(f"recorded poses of these keypoints are an array of {wanted}, not {poses.shape}")
    if times.shape != poses.shape[:1]:
        raise InvalidInputError(f"{len(poses)} recorded poses need as many times, not an array of {times.shape}")
    if not np.isfinite(times).all():
        raise InvalidInputError("a time of the recorded poses is not a finite number; leave out such poses")
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        raise InvalidInputError(
            f"the times of the recorded poses go back at pose {back[0] + 1}; sort the poses by time"
        )
