"""One inference request as the model's thread sees it."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns

from poseloop_server.model import PoseModel
from poseloop_server.refusal import unavailable


class InferenceJob:
    """Runs a model on the frames of one request, one frame a turn.

    One at a time, since a batch would hold the streams up for as long as it takes as a whole.

    Attributes:
        keypoints: float32 ``(frames, instances, keypoints, 3)``, or what went wrong; belongs to the event loop.
        queue_ns: how long it waited for turns.
        infer_ns: how long the model ran.
        made_ns: when it began to wait.
        ended_ns: when the model had run for the last time.
    """

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        """Take uint8 ``(frames, height, width, channels)``; on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._frames: NDArray[np.uint8] | None = frames
        self._model: PoseModel | None = None
        self._found: list[NDArray[np.float32]] = []
        self.keypoints: asyncio.Future[NDArray[np.float32]] = self._loop.create_future()
        self.queue_ns = self.infer_ns = 0
        self.made_ns = self.ended_ns = now_ns()

    def run_turn(self, model: PoseModel) -> bool:
        """Find the keypoints of the next frame; return whether it was the last."""
        frames = self._frames
        if frames is None:
            return True
        started_ns = now_ns()
        self.queue_ns += started_ns - self.ended_ns
        if model is not self._model:  # one answer is one model's, so what another found goes
            self._model, self._found = model, []
        at = len(self._found)
        try:
            self._found.append(model.infer(frames[at : at + 1]))
            self.ended_ns = now_ns()
            self.infer_ns += self.ended_ns - started_ns
            if at + 1 < len(frames):
                return False
            self._tell(self._found[0] if at == 0 else np.concatenate(self._found), None)
        except Exception as error:  # whatever it is, it is this request's and must not end the model's thread
            self._tell(None, error)
        return True

    def abandon(self) -> None:
        """Answer that the model is gone."""
        self._tell(None, unavailable("the model was unloaded, or the server is stopping; try again."))

    def cancel(self) -> None:
        """Let go of the frames, since nobody waits for the answer any more; turns to come do nothing."""
        self._frames = None

    def _tell(self, keypoints: NDArray[np.float32] | None, error: Exception | None) -> None:
        self._frames = None
        self._loop.call_soon_threadsafe(self._settle, keypoints, error)

    def _settle(self, keypoints: NDArray[np.float32] | None, error: Exception | None) -> None:
        if self.keypoints.done():
            return
        if keypoints is not None:
            self.keypoints.set_result(keypoints)
        elif error is not None:
            self.keypoints.set_exception(error)
