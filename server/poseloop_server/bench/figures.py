"""What a served run comes to, for all streams and by stream, and what it ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError
from poseloop.images import Color
from poseloop.types import ModelInfo, Percentiles

from poseloop_server.bench.rig import ServedRun, Setup, StreamRun, Traffic
from poseloop_server.providers import versions_of

STAGES: Final = ("ingest", "wait", "inference", "publish", "deliver")
PLACES: Final = ("dropped_outbox", "lost_connection", "dropped_mailbox", "failed")
_PACKAGES: Final = ("poseloop", "grpcio", "pyzmq", "protobuf", "numpy")
# Columns of `StreamRun.poses`.
_SEQUENCE, _CAPTURED, _PUBLISHED, _REACHED = 0, 1, 5, 6


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """One stream, or all of them together; times in milliseconds, over the poses that count.

    Attributes:
        name: the stream's; of all together, how many they are.
        sent, published, dropped: of the final account; a run is whole where sent = published + dropped.
        by_place: what was dropped, by the account's names of the places.
        received: poses that reached the subscriber.
        counted: those behind the percentiles, without the first second's.
        age: captured to published; None where no pose counts.
        end_to_end: captured to received by the subscriber; likewise.
    """

    name: str
    sent: int
    published: int
    dropped: int
    by_place: dict[str, int]
    received: int
    counted: int
    age: Percentiles | None
    end_to_end: Percentiles | None

    @property
    def whole(self) -> bool:
        """Whether the account balances with nothing left in flight."""
        return self.sent == self.published + self.dropped == self.published + sum(self.by_place.values())

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "stream": self.name,
            "sent": self.sent,
            "published": self.published,
            "dropped": self.dropped,
            **self.by_place,
            "received": self.received,
            "counted": self.counted,
            "age_ms": self.age and rounded(self.age),
            "end_to_end_ms": self.end_to_end and rounded(self.end_to_end),
        }


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A served run.

    Attributes:
        streams: each.
        together: all of them.
        end_to_end_ms, age_ms: of each pose that counts.
        stages: where the end-to-end time went, by the names of `STAGES`.
        sent_per_second: by all cameras together; less than planned where they could not keep up.
    """

    streams: list[StreamFigures]
    together: StreamFigures
    end_to_end_ms: NDArray[np.float64]
    age_ms: NDArray[np.float64]
    stages: dict[str, Percentiles]
    sent_per_second: float

    @property
    def fairness(self) -> float:
        """Poses of the stream that was served least, as a share of the one that was served most."""
        published = [stream.published for stream in self.streams]
        return min(published) / max(published) if max(published) else 1.0


def figures_of(run: ServedRun, traffic: Traffic) -> RunFigures:
    """Return the figures of a served run.

    Raises:
        InvalidInputError: no pose counts.
    """
    counted = [stream.poses[stream.poses[:, _SEQUENCE] >= traffic.warm_up_frames] for stream in run.streams]
    pooled = np.concatenate(counted)
    if len(pooled) == 0:
        raise InvalidInputError(
            f"no pose arrived after the first second: {traffic.total_per_second:.4g} frames a second are too many for "
            "this model here; choose a lower --fps"
        )
    streams = [_stream_figures(stream, poses) for stream, poses in zip(run.streams, counted, strict=True)]
    spans = np.diff(pooled[:, _CAPTURED:], axis=1) / 1e6
    return RunFigures(
        streams=streams,
        together=_together(streams, pooled),
        end_to_end_ms=_span_ms(pooled, _REACHED),
        age_ms=_span_ms(pooled, _PUBLISHED),
        stages={name: percentiles(spans[:, column]) for column, name in enumerate(STAGES)},
        sent_per_second=sum(stream.sent for stream in streams) / run.seconds,
    )


def _stream_figures(run: StreamRun, counted: NDArray[np.int64]) -> StreamFigures:
    return StreamFigures(
        name=run.name,
        sent=run.account["sent"],
        published=run.account["published"],
        dropped=run.account["dropped"],
        by_place={place: run.account[place] for place in PLACES},
        received=len(run.poses),
        counted=len(counted),
        age=percentiles(_span_ms(counted, _PUBLISHED)) if len(counted) else None,
        end_to_end=percentiles(_span_ms(counted, _REACHED)) if len(counted) else None,
    )


def _together(streams: list[StreamFigures], pooled: NDArray[np.int64]) -> StreamFigures:
    return StreamFigures(
        name=f"{len(streams)} streams" if len(streams) > 1 else streams[0].name,
        sent=sum(stream.sent for stream in streams),
        published=sum(stream.published for stream in streams),
        dropped=sum(stream.dropped for stream in streams),
        by_place={place: sum(stream.by_place[place] for stream in streams) for place in PLACES},
        received=sum(stream.received for stream in streams),
        counted=len(pooled),
        age=percentiles(_span_ms(pooled, _PUBLISHED)),
        end_to_end=percentiles(_span_ms(pooled, _REACHED)),
    )


def _span_ms(poses: NDArray[np.int64], to: int) -> NDArray[np.float64]:
    return np.asarray((poses[:, to] - poses[:, _CAPTURED]) / 1e6, np.float64)


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> Percentiles:
    """Return the percentiles of some milliseconds, by linear interpolation."""
    p50, p95, p99, largest = np.percentile(np.asarray(values, np.float64), [50, 95, 99, 100]).tolist()
    return Percentiles(p50, p95, p99, largest)


def rounded(values: Percentiles) -> dict[str, float]:
    """Return the percentiles in their published form."""
    return {name: round(getattr(values, name), 4) for name in ("p50", "p95", "p99", "max")}


def conditions(setup: Setup, model: ModelInfo, transport: str, poses: str | None = None) -> dict[str, Any]:
    """Return what a measurement ran on: machine, versions, provider, model and frames."""
    film = setup.film(model.spec.color, 1.0)
    return {
        "transport": transport,
        "poses": poses or setup.poses,
        "frame": film.description,
        "converted": _conversion(film.color, model.spec.color),
        "model": model.spec.name,
        "model_sha256": model.sha256,
        "provider": model.provider,
        "device": model.device,
        "precision": model.precision,
        "threads": model.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions_of(*_PACKAGES),
    }


def _conversion(film: Color, model: Color) -> str:
    """Return who converts colours: senders to grey, since fewer bytes leave, and the server from it."""
    return "no" if film == model else f"{film} to {model}, by the {'sender' if model == 'gray' else 'server'}"
