"""Draws measurements, each as one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from poseloop.errors import InvalidInputError

from poseloop_server.bench.scaling import ScalingResult
from poseloop_server.bench.soak import SoakResult
from poseloop_server.bench.verdict import MEMORY_GROWTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREY, _RED = "#20639b", "#e07b39", "#8a8f98", "#b3392f"
_PLACES: Final = {
    "dropped_outbox": ("client's outbox", _BLUE),
    "dropped_mailbox": ("server's mailbox", _ORANGE),
    "lost_connection": ("connection", _GREY),
    "failed": ("failed", _RED),
}


def draw_scaling(result: ScalingResult, file: Path) -> None:
    """Draw age, service and memory over the number of streams.

    Raises:
        InvalidInputError: the file can't be written.
    """
    figure = _figure(12.5, 4.8)
    ages, frames, memory = figure.subplots(1, 3)
    places = np.arange(len(result.points))
    labels = [f"{point.streams}\n{100 * result.load(point):.0f} %" for point in result.points]
    interval_ms = 1000 / result.frames_per_second

    ages.plot(places, [point.age.p99 for point in result.points], "o-", color=_ORANGE, label="p99")
    ages.plot(places, [point.age.p50 for point in result.points], "o-", color=_BLUE, label="p50")
    rounds = [interval_ms + 1.5 * point.streams * result.inference.p50 for point in result.points]
    ages.plot(places, rounds, "--", color=_GREY, linewidth=1, label="frame interval + 1.5 rounds of inference")
    _label(ages, "Age of poses: captured to published", "ms")
    ages.set_ylim(bottom=0)

    _draw_shares(result, frames, places)
    _label(frames, "What became of the frames", "%")
    frames.set_ylim(0, 100)

    memory.bar(places, [point.memory_mib for point in result.points], 0.6, color=_GREY)
    _label(memory, "Resident memory of the server", "MiB")
    for axes in (ages, frames):
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.24))
    for axes in (ages, frames, memory):
        axes.set_xticks(places, labels)
        axes.set_xlabel("streams, and frames sent in % of the bare inference's capacity", fontsize=8)
    conditions = result.conditions
    figure.suptitle(
        f"{conditions['model']}, {conditions['frame']} at {conditions['frames_per_second']:g} fps a stream, "
        f"{conditions['transport']}; {conditions['device']}, {conditions['cores']} cores",
        fontsize=9,
    )
    _save(figure, file)


def _draw_shares(result: ScalingResult, axes: Axes, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    sent = np.array([point.run.together.sent for point in result.points])
    published = np.array([point.run.together.published for point in result.points])
    bottom = 100 * published / sent
    axes.bar(places, bottom, 0.6, color="#3f8f5f", label="published")
    for name, (words, color) in _PLACES.items():
        share = 100 * np.array([point.run.together.by_place[name] for point in result.points]) / sent
        if share.any():
            axes.bar(places, share, 0.6, bottom=bottom, color=color, label=f"dropped: {words}")
            bottom = bottom + share
    for place, point in zip(places, result.points, strict=True):
        if point.streams > 1:
            axes.text(float(place), 2, f"{point.run.fairness:.2f}", ha="center", fontsize=8, color="white")
    axes.plot([], [], " ", label="white: least served / most served")


def draw_soak(result: SoakResult, file: Path) -> None:
    """Draw memory, threads and handles, and age over time.

    Raises:
        InvalidInputError: the file can't be written.
    """
    figure = _figure(9.0, 7.5)
    memory, counts, ages = figure.subplots(3, 1, sharex=True)
    values = [moment.to_json() for moment in result.moments]
    minutes = [value["at_s"] / 60 for value in values]
    middle = float(np.median([value["memory_mib"] for value in values]))
    band = (middle * (1 - MEMORY_GROWTH), middle * (1 + MEMORY_GROWTH))
    memory.axhspan(*band, color=_GREY, alpha=0.15, label=f"median and {100 * MEMORY_GROWTH:g} % on either side")
    memory.plot(minutes, [value["memory_mib"] for value in values], color=_BLUE)
    _label(memory, "Resident memory of the server", "MiB")
    counts.plot(minutes, [value["threads"] for value in values], color=_BLUE, label="threads")
    counts.plot(minutes, [value["handles"] for value in values], color=_ORANGE, label="open files and sockets")
    counts.set_ylim(bottom=0)
    _label(counts, "Threads and handles", "")
    ages.plot(minutes, [value["age_p99_ms"] for value in values], color=_ORANGE, label="p99")
    ages.plot(minutes, [value["age_p50_ms"] for value in values], color=_BLUE, label="p50")
    ages.set_ylim(bottom=0)
    _label(ages, "Age of poses: captured to published", "ms")
    for axes in (memory, counts, ages):
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    ages.set_xlabel("minutes")
    conditions = result.conditions
    figure.suptitle(
        f"{conditions['model']}, {conditions['streams']} streams of {conditions['frame']} at "
        f"{conditions['frames_per_second']:.4g} fps, {conditions['transport']}; {conditions['device']}",
        fontsize=9,
    )
    _save(figure, file)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)


def _save(figure: Figure, file: Path) -> None:
    try:
        figure.savefig(file, dpi=130)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"the picture {file} can't be written: {error}; name a .png in a folder that exists"
        ) from None
