"""What became of a model's inference requests: the statistics extension, and what waits at this moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from poseloop_server.oip.v2 import open_inference_pb2 as oip
from poseloop_server.refusal import RefusedError


@dataclass(slots=True)
class Duration:
    """How often something was done, and how long that took in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count it once more."""
        self.count += 1
        self.ns += ns

    def to_wire(self) -> oip.StatisticDuration:
        """Return it as the protocol's message."""
        return oip.StatisticDuration(count=self.count, ns=self.ns)


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """Where the time of one request went, in nanoseconds; the parts add up to the whole, but for the hand-over."""

    total: int
    queue: int
    compute_input: int
    compute_infer: int
    compute_output: int


@dataclass(slots=True)
class Account:
    """The requests for one model; used on the event loop's thread only.

    Args:
        max_requests: how many may be under way at a time.
        max_bytes: how large their messages may be together.
    """

    max_requests: int
    max_bytes: int
    requests: int = 0
    bytes: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    frames: int = 0
    last_inference_ms: int = 0

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Take a request of ``size`` bytes as under way for as long as the context lasts.

        Raises:
            RefusedError: too much is under way.
        """
        if self.requests >= self.max_requests:
            raise _exhausted(f"{self.requests} requests wait for this model, as many as --infer-queue-requests allows")
        # One alone is never too large: the largest message is a setting of its own.
        if self.requests and self.bytes + size > self.max_bytes:
            raise _exhausted(f"the requests that wait for this model hold {self.bytes >> 20} MiB already")
        self.requests += 1
        self.bytes += size
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size

    def succeeded(self, times: RequestTimes, frames: int) -> None:
        """Count a request that was answered with keypoints."""
        self.success.add(times.total)
        self.queue.add(times.queue)
        self.compute_input.add(times.compute_input)
        self.compute_infer.add(times.compute_infer)
        self.compute_output.add(times.compute_output)
        self.frames += frames
        self.last_inference_ms = time.time_ns() // 1_000_000  # the protocol asks for the time of day

    def to_wire(self, model: str, version: str) -> oip.ModelStatistics:
        """Return the statistics of the model."""
        stats = oip.InferStatistics(
            success=self.success.to_wire(),
            fail=self.fail.to_wire(),
            queue=self.queue.to_wire(),
            compute_input=self.compute_input.to_wire(),
            compute_infer=self.compute_infer.to_wire(),
            compute_output=self.compute_output.to_wire(),
        )
        return oip.ModelStatistics(
            name=model,
            version=version,
            last_inference=self.last_inference_ms,
            inference_count=self.frames,
            execution_count=self.frames,
            inference_stats=stats,
        )


def _exhausted(sentence: str) -> RefusedError:
    return RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", f"{sentence}; wait for answers before you send more.")
