"""Pictures of labels and predictions: the whole frame, beside it the animal enlarged, and each keypoint's error; and
the curve that says what confidences are worth.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poseloop_training.dataset import PoseDataset
from poseloop_training.evaluate import EvaluationResult, FrameError
from poseloop_training.reliability import Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 100
PANEL_HEIGHT_INCHES = 6.0
# The enlarged view shows the animal with this much of its extent around it, and at least so many pixels.
MARGIN = 0.35
SMALLEST_VIEW_PX = 48.0


def draw_worst(result: EvaluationResult, dataset: PoseDataset, folder: Path, count: int = 6) -> list[Path]:
    """Write the frames with the largest mean errors as PNG, the worst first, and return the files.

    A circle is the label, a cross the prediction, a line joins the two; each keypoint has its colour.

    Raises:
        InvalidInputError: an image is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for rank, frame in enumerate(result.worst_frames(count), 1):
        file = folder / f"worst-{rank:02d}-frame-{frame.index}.png"
        _draw(result, frame, dataset.load_image(frame.index), file)
        files.append(file)
    return files


def draw_reliability(found: Reliability, file: Path) -> Path:
    """Write the reliability curve as PNG, below it how many keypoints have which confidence, and return the file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 7.2), dpi=DPI, layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    curve.plot([0, 1], [0, 1], color="gray", linestyle="--", label="as the confidence says")
    bins = found.bins
    within = [one.within_radius for one in bins]
    intervals = [[one.within_radius - one.low for one in bins], [one.high - one.within_radius for one in bins]]
    curve.errorbar(
        [one.confidence for one in bins], within, yerr=intervals, marker="o", capsize=3,
        label=f"{len(found.confidences)} keypoints in groups of like confidence, 95 % intervals",
    )  # fmt: skip
    curve.set(ylim=(-0.03, 1.03), ylabel=f"part of the keypoints within {found.radius_px:g} px of their label")
    curve.set_title(
        f"{'Calibrated' if found.calibrated else 'Uncalibrated'} confidence: {found.confidences.mean():.3f} on "
        f"average, {found.within.mean():.3f} within {found.radius_px:g} px",
        fontsize=11,
    )
    curve.legend(loc="best", frameon=False)
    counts.hist(found.confidences, bins=50, range=(0, 1))
    counts.set(xlim=(-0.03, 1.03), xlabel="confidence", ylabel="keypoints")
    for axes in (curve, counts):
        axes.grid(alpha=0.3)
    figure.savefig(file)
    return file


def _draw(result: EvaluationResult, frame: FrameError, image: NDArray[np.uint8], file: Path) -> None:
    # Figure without pyplot: no window system, and no state that other threads share.
    from matplotlib.figure import Figure

    row = result.indices.index(frame.index)
    height, width = image.shape[:2]
    panel_width = PANEL_HEIGHT_INCHES * min(max(width / height, 0.6), 1.8)
    rows_of_legend = math.ceil(len(result.keypoint_names) / 5)
    figure = Figure(
        figsize=(panel_width + PANEL_HEIGHT_INCHES, PANEL_HEIGHT_INCHES + 0.55 + 0.3 * rows_of_legend),
        dpi=DPI,
        layout="constrained",
    )
    whole, enlarged = figure.subplots(1, 2, width_ratios=[panel_width, PANEL_HEIGHT_INCHES])
    figure.suptitle(f"{frame.image} (frame {frame.index}): mean error {frame.mean_px:.1f} px", fontsize=13)
    colours = keypoint_colours(len(result.keypoint_names))
    _show(whole, image, result, row, colours, marker_size=9)
    _show(enlarged, image, result, row, colours, marker_size=16)
    left, right, bottom, top = _view_of_animal(result, row, width, height)
    enlarged.set(xlim=(left, right), ylim=(bottom, top))
    figure.legend(
        handles=_legend(result, row, colours), loc="outside lower center", ncols=5, fontsize=11, frameon=False
    )
    figure.savefig(file)


def _show(
    axes: Axes, image: NDArray[np.uint8], result: EvaluationResult, row: int, colours: list[Any], marker_size: float
) -> None:
    # imshow puts the centre of a pixel on whole numbers, which is the origin of our coordinates.
    axes.imshow(image[:, :, 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    for label, prediction, colour in zip(result.labels[row], result.predictions[row], colours, strict=True):
        axes.plot(*zip(label, prediction[:2], strict=True), color=colour, linewidth=1.5)
        axes.plot(*label, "o", color=colour, markersize=marker_size, markerfacecolor="none", markeredgewidth=2)
        if np.isfinite(label).all():
            axes.plot(*prediction[:2], "x", color=colour, markersize=marker_size, markeredgewidth=2.5)
    # Predictions may lie outside of the frame; they must not shrink it.
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))


def _view_of_animal(result: EvaluationResult, row: int, width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a square around labels and predictions that lie within the frame."""
    labelled = result.labelled[row]
    points = np.concatenate([result.labels[row][labelled], result.predictions[row, labelled, :2]])
    points = points[np.isfinite(points).all(axis=1)].clip((0, 0), (width - 1, height - 1))
    low, high = points.min(axis=0), points.max(axis=0)
    half = max(float((high - low).max()) * (0.5 + MARGIN), SMALLEST_VIEW_PX / 2)
    # The square is moved into the frame as far as it fits, so that no empty border takes the place of the picture.
    x, y = (
        float(np.clip(middle, min(half, length / 2), max(length - half, length / 2)))
        for middle, length in zip((low + high) / 2, (width, height), strict=True)
    )
    return x - half, x + half, y + half, y - half


def _legend(result: EvaluationResult, row: int, colours: list[Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", color="black", linestyle="", markerfacecolor="none", label="label"),
        Line2D([], [], marker="x", color="black", linestyle="", label="prediction"),
    ]
    for name, distance, labelled, colour in zip(
        result.keypoint_names, result.distances[row], result.labelled[row], colours, strict=True
    ):
        if labelled:
            error = f"{distance:.1f} px" if np.isfinite(distance) else "missed"
            handles.append(Line2D([], [], color=colour, linewidth=5, label=f"{name} {error}"))
    return handles


def keypoint_colours(count: int) -> list[Any]:
    """Return a colour for each keypoint, as parts of red, green, blue and opacity."""
    from matplotlib import colormaps

    if count <= 10:
        return [colormaps["tab10"](k) for k in range(count)]
    return [colormaps["turbo"](0.05 + 0.9 * k / (count - 1)) for k in range(count)]
