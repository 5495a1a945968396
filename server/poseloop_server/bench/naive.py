"""The peer that serving is measured against: the simplest loop that a lab would write, in one process.

    while True:
        for camera in cameras:
            frame = camera.read()
            keypoints = session.run(None, {"frames": frame})
            print(keypoints)

A camera is what a driver is to such a loop: it fills a few buffers by itself, `read` gives the oldest or waits for the
next frame, and while all buffers are full new frames are dropped. It takes no thread and no time of the loop, so the
peer is at its best. A frame's age is from the moment it was due at the camera to the moment its result is printed.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.clock import now_ns
from poseloop.images import Color

from poseloop_server.bench.film import Film, drifted
from poseloop_server.bench.talk import say_ready_and_wait

# Video4Linux gives OpenCV four buffers unless it is asked for another number.
DRIVER_BUFFERS: Final = 4


class Camera:
    """A camera behind its driver's buffers.

    Attributes:
        dropped: frames for which no buffer was free.
    """

    def __init__(self, images: list[NDArray[np.uint8]], frames_per_second: float, start_ns: int, buffers: int) -> None:
        self.dropped = 0
        self._images = images
        self._interval_ns = 1e9 / frames_per_second
        self._start_ns = start_ns
        self._buffers = buffers
        self._filled: deque[tuple[int, int]] = deque()  # index and moment of each frame that waits
        self._next = 0

    def read(self) -> tuple[int, NDArray[np.uint8], int]:
        """Return the oldest frame that waits, or the next one: its index, its image, and when it was captured."""
        # Buffers are emptied here only, so it is enough to fill them here for the time since the last call.
        self._fill(now_ns())
        if not self._filled:
            time.sleep(max(0.0, (self._due_ns() - now_ns()) / 1e9))
            # As for the measured cameras, a frame is captured when the process that waits for it wakes up.
            self._filled.append((self._next, now_ns()))
            self._next += 1
        index, captured_ns = self._filled.popleft()
        return index, self._images[index % len(self._images)], captured_ns

    def _fill(self, now: int) -> None:
        while self._due_ns() <= now:
            if len(self._filled) < self._buffers:
                self._filled.append((self._next, self._due_ns()))
            else:
                self.dropped += 1
            self._next += 1

    def _due_ns(self) -> int:
        return self._start_ns + int(self._next * self._interval_ns)


@dataclass(frozen=True, slots=True)
class NaiveJob:
    """Run the loop over some cameras for some seconds.

    Attributes:
        cameras: how many, their frames evenly spread over the frame interval.
        drift: how much slower each is than the one before, as a part of the rate.
        buffers: of each camera's driver; 0 for as many as it takes.
        plain_session: open the session with ONNX Runtime's own settings, as ``InferenceSession(file)`` does, rather
            than with the server's.
    """

    film: Film
    cameras: int
    seconds: float
    buffers: int
    model: str
    provider: str
    threads: int
    plain_session: bool
    drift: float = 0.0

    def run(self) -> dict[str, Any]:
        """Return by camera, for each frame, its index and the moments of capture and of print, and what was dropped."""
        infer, color = self._open()
        convert = _conversion(self.film.color, color)
        images = self.film.render()
        for _ in range(10):
            infer(convert(images[0]))
        say_ready_and_wait()
        start_ns = now_ns()
        rate = self.film.frames_per_second
        cameras = [
            Camera(
                images,
                drifted(rate, self.drift, place),
                start_ns + int(place / rate / self.cameras * 1e9),
                self.buffers or 1_000_000_000,
            )
            for place in range(self.cameras)
        ]
        rows: list[list[list[int]]] = [[] for _ in cameras]
        with Path(os.devnull).open("w") as void:
            while now_ns() < start_ns + self.seconds * 1e9:
                for camera, seen in zip(cameras, rows, strict=True):
                    index, frame, captured_ns = camera.read()
                    print(infer(convert(frame)), file=void, flush=True)
                    seen.append([index, captured_ns, now_ns()])
        return {
            "cameras": [{"rows": seen, "dropped": camera.dropped} for camera, seen in zip(cameras, rows, strict=True)]
        }

    def _open(self) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.float32]], Color]:
        if self.plain_session:
            import onnxruntime
            from poseloop.types import ModelSpec

            session = onnxruntime.InferenceSession(self.model)
            spec = ModelSpec.from_metadata(session.get_modelmeta().custom_metadata_map, self.model)
            return lambda frame: session.run(None, {"frames": frame})[0][0], spec.color
        from poseloop_server.model import PoseModel

        model = PoseModel(Path(self.model), provider=self.provider, threads=self.threads)
        return lambda frame: model.infer(frame)[0], model.spec.color


def _conversion(camera: Color, model: Color) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return what makes a camera's frame the model's input, as a lab would: with OpenCV where the colours differ."""
    if camera == model:
        return lambda frame: frame.reshape(1, *frame.shape[:2], -1)
    import cv2

    code = cv2.COLOR_RGB2GRAY if model == "gray" else cv2.COLOR_GRAY2RGB

    def convert(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        converted: NDArray[np.uint8] = np.asarray(cv2.cvtColor(frame, code), np.uint8)
        return converted.reshape(1, *frame.shape[:2], -1)

    return convert
