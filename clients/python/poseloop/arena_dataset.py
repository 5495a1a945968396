"""Labelled frames of the synthetic arena as a DeepLabCut project, to train and test on without anyone's data."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from poseloop.arena import Arena, ArenaSettings
from poseloop.errors import InvalidInputError, MissingExtraError

SCORER: Final = "arena"
LEAST_CONTRAST: Final = {"body_brightness": 60, "skin_brightness": 30}  # to the bedding, in grey levels

# What `vary` draws from.
_SPANS: Final[dict[str, tuple[float, float]]] = {
    "animal_size": (0.75, 1.35),
    "body_brightness": (35, 220),
    "skin_brightness": (85, 180),
    "fur_contrast": (0.3, 1.0),
    "background_brightness": (60, 215),
    "background_contrast": (0.1, 1.0),
    "lighting": (0.0, 0.9),
    "shadow": (0.1, 0.65),
    "noise": (0.5, 6.0),
}


def vary(settings: ArenaSettings, seed: int) -> ArenaSettings:
    """Return another arena of the same size, rate and colour: its look and its walk are drawn from ``seed``."""
    rng = np.random.default_rng([seed, 6])
    while True:
        look: dict[str, Any] = {name: float(rng.uniform(low, high)) for name, (low, high) in _SPANS.items()}
        bedding = look["background_brightness"]
        if all(abs(look[part] - bedding) >= least for part, least in LEAST_CONTRAST.items()):
            return replace(settings, seed=int(rng.integers(2**32)), **look)


def write_project(
    folder: Path, frames: int, settings: ArenaSettings | None = None, *, appearances: int = 1, seed: int = 0
) -> Path:
    """Write a labelled DeepLabCut project: ``config.yaml`` and ``labeled-data/arena<n>`` with PNGs and their labels.

    Args:
        folder: made if it is not there; must not hold a project yet.
        frames: in all, spread evenly over the appearances and at random over each walk.
        settings: the first appearance; the others are made from it by `vary`.
        appearances: different looks, each with a walk of its own.
        seed: decides frames and looks.

    Returns:
        The path of ``config.yaml``.

    Raises:
        InvalidInputError: the folder holds a project, or there are fewer frames than appearances.
        MissingExtraError: OpenCV, which writes the PNGs, is not installed.
    """
    if (folder / "config.yaml").exists():
        raise InvalidInputError(f"{folder} already holds a project; choose an empty folder")
    if not 1 <= appearances <= frames:
        raise InvalidInputError(f"{frames} frames can't show {appearances} appearances; ask for at least one each")
    base = settings or ArenaSettings()
    looks = [base, *(vary(base, seed * 100_003 + number) for number in range(1, appearances))]
    shares = np.diff(np.linspace(0, frames, appearances + 1).astype(int))
    for number, (look, share) in enumerate(zip(looks, shares, strict=True)):
        rng = np.random.default_rng([seed, number, 7])
        _write_recording(folder / "labeled-data" / f"arena{number:03d}", Arena(look), int(share), rng)
    config = folder / "config.yaml"
    config.write_text(_config_text(base, appearances), encoding="utf-8")
    return config


def _write_recording(folder: Path, arena: Arena, frames: int, rng: np.random.Generator) -> None:
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("writing images", "camera") from None
    folder.mkdir(parents=True, exist_ok=True)
    within = max(int(arena.period_s * arena.settings.frames_per_second), frames)
    with (folder / f"CollectedData_{SCORER}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [name for name in arena.keypoint_names for _ in "xy"]
        writer.writerow(["scorer", *[SCORER] * len(names)])
        writer.writerow(["bodyparts", *names])
        writer.writerow(["coords", *["x", "y"] * len(arena.keypoint_names)])
        for number, index in enumerate(sorted(rng.choice(within, frames, replace=False).tolist())):
            name = f"img{number:04d}.png"
            image = arena.frame(index)
            # imencode and write_bytes, for imwrite can't write to paths with letters beyond ASCII on Windows.
            _, data = cv2.imencode(".png", image if image.ndim == 2 else image[:, :, ::-1])
            (folder / name).write_bytes(data.tobytes())
            truth = [f"{value:.4f}" for value in arena.keypoints(index).ravel().tolist()]
            writer.writerow([f"labeled-data/{folder.name}/{name}", *truth])


def _config_text(settings: ArenaSettings, appearances: int) -> str:
    crop = f"0, {settings.width}, 0, {settings.height}"
    videos = "".join(f"  videos/arena{number:03d}.mp4:\n    crop: {crop}\n" for number in range(appearances))
    bodyparts = "".join(f"- {name}\n" for name in Arena.keypoint_names)
    edges = "".join(f"- - {first}\n  - {second}\n" for first, second in Arena.skeleton)
    return (
        f"Task: arena\nscorer: {SCORER}\ndate: Jan1\nmultianimalproject: false\nidentity: false\nproject_path: .\n"
        f"engine: pytorch\nvideo_sets:\n{videos}bodyparts:\n{bodyparts}start: 0\nstop: 1\nnumframes2pick: 20\n"
        f"skeleton:\n{edges}skeleton_color: black\npcutoff: 0.6\ndotsize: 6\nalphavalue: 0.7\ncolormap: rainbow\n"
        "TrainingFraction:\n- 0.95\niteration: 0\ndefault_net_type: resnet_50\nsnapshotindex: -1\nbatch_size: 8\n"
    )
