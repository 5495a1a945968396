"""The Open Inference Protocol's own client, put to use against `poseloop serve` as a process."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TIMEOUT_S = 30


def frames_input(frames: np.ndarray) -> triton.InferInput:
    return triton.InferInput("frames", frames.shape, "UINT8").set_data_from_numpy(frames)


def spot_frames(*spots: tuple[int, int], size: tuple[int, int] = (64, 48), channels: int = 1) -> np.ndarray:
    """Black frames, each with its brightest pixel at (x, y)."""
    frames = np.zeros((len(spots), size[1], size[0], channels), np.uint8)
    for frame, (x, y) in zip(frames, spots, strict=True):
        frame[y, x, 0] = 200
    return frames


def infer(client: triton.InferenceServerClient, model: str, frames: np.ndarray, **options: Any) -> np.ndarray:
    found = client.infer(model, [frames_input(frames)], client_timeout=TIMEOUT_S, **options).as_numpy("keypoints")
    assert found.dtype == np.float32
    return found


def outcome(call: Callable[[], object]) -> tuple[str, str]:
    """The status and the sentence that a call ends with."""
    try:
        call()
    except InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode."), error.message()
    return "OK", ""


class Stream:
    """One ModelStreamInfer call, answer by answer."""

    def __init__(self, client: triton.InferenceServerClient) -> None:
        self._client = client
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def put(self, result: Any, error: Any) -> None:
        self._answers.put((result, error))

    def send(self, model: str, frames: np.ndarray, request_id: str, **options: Any) -> None:
        self._client.async_stream_infer(model, [frames_input(frames)], request_id=request_id, **options)

    def answer(self) -> Any:
        """The next result; what came instead of one is raised."""
        result, error = self._answers.get(timeout=TIMEOUT_S)
        if error is not None:
            raise error
        return result


@contextmanager
def stream_of(client: triton.InferenceServerClient, **options: Any) -> Iterator[Stream]:
    stream = Stream(client)
    client.start_stream(stream.put, **options)
    try:
        yield stream
    finally:
        client.stop_stream()
