"""Small labelled projects in the formats that users bring, written from an array of labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from poseloop_training.dataset import PoseDataset

Style = Literal["old", "new", "backslashes"]
NAMES = ("snout", "leftear", "rightear")


def keypoints_of(dataset: PoseDataset) -> NDArray[np.float32]:
    """Return all labels, ``(frames, animals, keypoints, 2)``."""
    return np.stack([sample.keypoints for sample in dataset.samples])


def frame_pixels(index: int, size: tuple[int, int] = (64, 48), color: bool = False) -> NDArray[np.uint8]:
    """Noise that is the same for the same index: ``(height, width)``, or ``(height, width, 3)`` RGB."""
    shape = (size[1], size[0], 3) if color else (size[1], size[0])
    return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)


def write_png(file: Path, pixels: NDArray[np.uint8]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    stored = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(file), stored)
    return file


def some_labels(frames: int, keypoints: int, seed: int = 0) -> NDArray[np.float64]:
    """Labels within 64x48: ``(frames, keypoints, 2)``, some of them NaN."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform((0, 0), (63, 47), (frames, keypoints, 2)).round(3)
    labels[rng.random((frames, keypoints)) < 0.2] = np.nan
    labels[0] = (10.25, 20.5)
    return labels


def write_deeplabcut(
    folder: Path,
    labels: NDArray[np.float64],
    names: Sequence[str] = NAMES,
    *,
    style: Style = "old",
    config: str | None = None,
    videos: Sequence[str] = ("cam",),
    color: bool = False,
) -> Path:
    """Write a project of ``(frames, keypoints, 2)`` labels, the frames dealt out to the videos in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config if config is not None else config_text(names), encoding="utf-8")
    for v, video in enumerate(videos):
        rows = range(v, len(labels), len(videos))
        place = folder / "labeled-data" / video
        for row in rows:
            write_png(place / f"img{row:03d}.png", frame_pixels(row, color=color))
        images = [(video, f"img{row:03d}.png") for row in rows]
        write_table(place / "CollectedData_Ada.csv", images, labels[list(rows)], names, style)
    return folder


def config_text(names: Sequence[str], **more: Any) -> str:
    """A config.yaml with the empty keys and the stale path that old projects have."""
    content = {"scorer": "Ada", "bodyparts": list(names), "skeleton": [], **more}
    lines = [f"{key}: {json.dumps(value)}" for key, value in content.items()]
    return "\n".join(["Task: reach", "identity:", "multianimalproject:", r"project_path: D:\old\place", *lines]) + "\n"


def write_table(
    file: Path,
    images: Sequence[tuple[str, str]],
    labels: NDArray[np.float64],
    names: Sequence[str],
    style: Style = "old",
    animals: Sequence[str] | None = None,
) -> Path:
    """Write ``(rows, columns of x and y)`` labels, ``(rows, keypoints, 2)`` or ``(rows, animals, keypoints, 2)``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    blanks = ["", ""] if style == "new" else []
    columns = [(animal, name, c) for animal in animals or [""] for name in names for c in "xy"]
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["scorer", *blanks, *["Ada"] * len(columns)])
        if animals:
            writer.writerow(["individuals", *blanks, *[c[0] for c in columns]])
        writer.writerow(["bodyparts", *blanks, *[c[1] for c in columns]])
        writer.writerow(["coords", *blanks, *[c[2] for c in columns]])
        for (video, image), row in zip(images, labels.reshape(len(images), -1), strict=True):
            parts = ["labeled-data", video, image]
            where = parts if style == "new" else ["\\".join(parts)] if style == "backslashes" else ["/".join(parts)]
            writer.writerow([*where, *("" if np.isnan(value) else repr(float(value)) for value in row)])
    return file


def write_coco(
    file: Path, labels: NDArray[np.float64], names: Sequence[str], images: Sequence[str], edges: Sequence[Any] = ()
) -> Path:
    """Write ``(frames, animals, keypoints, 2)`` labels; each image is 64x48."""
    annotations = [
        {
            "id": 100 * row + animal + 1,
            "image_id": row + 1,
            "category_id": 1,
            "bbox": [0, 0, 64, 48],
            "keypoints": [v for x, y in points for v in ((0, 0, 0) if np.isnan(x) else (float(x), float(y), 2))],
        }
        for row, frame in enumerate(labels)
        for animal, points in enumerate(frame)
    ]
    content = {
        "images": [{"id": i + 1, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(images)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "mouse", "keypoints": list(names), "skeleton": [list(e) for e in edges]}],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
