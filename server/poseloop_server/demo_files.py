"""What the demo leaves behind: an annotated clip, a histogram of the latency and the summary as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.types import ModelSpec

from poseloop_server.clip import Clip
from poseloop_server.demo import Recording, Summary
from poseloop_server.overlay import Overlay

CLIP_SECONDS: Final = 8.0
CLIP_FRAMES_PER_SECOND: Final = 30.0


def write_clip(path: Path, recording: Recording, spec: ModelSpec) -> None:
    """Draw the last seconds: the frames are the arena's, the poses those that were received for them."""
    rate = recording.arena.settings.frames_per_second
    step = max(round(rate / CLIP_FRAMES_PER_SECOND), 1)
    chosen = recording.sightings[-round(CLIP_SECONDS * rate) :: step]
    overlay = Overlay(spec.keypoints, spec.skeleton)
    with Clip(path, rate / step) as clip:
        for sighting in chosen:
            image = _as_bgr(recording.arena.frame(sighting.sequence))
            caption = f"frame {sighting.sequence}   {sighting.age:.1f} ms"
            if np.isfinite(sighting.errors).any():
                caption += f"   error {np.nanmean(sighting.errors):.2f} px"
            overlay.draw(image, sighting.keypoints[np.newaxis], caption)
            clip.add(image)


def _as_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    planes = image[:, :, np.newaxis].repeat(3, axis=2) if image.ndim == 2 else image[:, :, ::-1]
    return np.ascontiguousarray(planes)


def write_histogram(path: Path, recording: Recording, summary: Summary) -> None:
    """Draw how the time from capture to publication is spread, and what of it is inference."""
    from matplotlib.figure import Figure

    ages = np.array([sighting.age for sighting in recording.sightings])
    inferences = np.array([sighting.inference for sighting in recording.sightings])
    top = max(summary.age.p99 * 1.4, summary.age.p50 * 2)
    bins = np.linspace(0.0, top, 80).tolist()
    figure = Figure(figsize=(9, 4.5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.hist(inferences.clip(max=top), bins=bins, color="#c9ced6", label="inference alone")
    axes.hist(ages.clip(max=top), bins=bins, color="#2f6fde", alpha=0.8, label="capture to published")
    for name, value in (("p50", summary.age.p50), ("p99", summary.age.p99)):
        axes.axvline(value, color="#1b2a41", linestyle="--", linewidth=1)
        axes.annotate(
            f"{name} {value:.1f} ms", (value, 0.97), (4, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top",
        )  # fmt: skip
    axes.set(xlim=(0, top), xlabel="milliseconds", ylabel="frames")
    axes.set_title(
        f"{summary.poses} frames at {summary.frames_per_second:.0f} a second, {summary.counters.dropped} dropped; "
        f"worst {summary.age.max:.1f} ms",
        loc="left",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right")
    figure.savefig(path)


def write_summary(path: Path, summary: Summary) -> None:
    """Write the figures as JSON."""
    path.write_text(json.dumps(summary_document(summary), indent=2) + "\n", encoding="utf-8")


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return the figures as they stand in the JSON file."""
    counters = summary.counters
    return {
        "frames_per_second": round(summary.frames_per_second, 2),
        "latency_ms": {name: round(value, 3) for name, value in asdict(summary.age).items()},
        "inference_ms": {name: round(value, 3) for name, value in asdict(summary.inference).items()},
        "mean_error_px": round(summary.mean_error_px, 3) if summary.errors_px else None,
        "errors_px": {name: round(value, 3) for name, value in summary.errors_px.items()},
        "received": summary.poses,
        **asdict(counters),
        "dropped": counters.dropped,
    }
