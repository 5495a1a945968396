"""How accurate a model becomes: with little time, with much, small and fast, and on frames of another kind."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from poseloop.arena import Arena, ArenaSettings
from poseloop.arena_dataset import write_project
from poseloop_training.dataset import load_dataset
from poseloop_training.model_runner import ModelRunner
from poseloop_training.model_timing import time_models

from acceptance.figures import Figure, Places, ask, run
from acceptance.recordings import FRAMES, TEST_FRAMES

SEEDS = (0, 1, 2)
# Unlike the arena of the bundled model, 640x480 grey: another size and form, colour, a light animal on a dark floor.
UNLIKE = ArenaSettings(
    width=720,
    height=540,
    frames_per_second=30,
    seed=77,
    color="rgb",
    animal_size=0.8,
    body_brightness=205,
    skin_brightness=160,
    background_brightness=70,
    background_contrast=0.9,
    lighting=0.7,
    noise=8,
)
UNLIKE_FRAMES, UNLIKE_TEST_FRAMES = 60, 40


def seven_minutes(places: Places) -> list[Figure]:
    """Train on openfield within seven minutes, with three seeds."""
    return _seeds(places, "7m", at_most=3.0)


def fifteen_minutes(places: Places) -> list[Figure]:
    """Train on openfield within fifteen minutes, with three seeds."""
    return _seeds(places, "15m", at_most=2.3)


def no_limit(places: Places) -> list[Figure]:
    """Train on openfield for as long as it takes."""
    return _trained(places, "no-limit", 0, limit=1.9)


def fast(places: Places) -> list[Figure]:
    """Train a model that takes five milliseconds a frame on one core."""
    figures = _trained(places, "fast", 0, "--fast", "--time-limit", "15m", limit=3.5)
    model = _model(places, "fast", 0)
    image = load_dataset(places.project).load_image(0, ModelRunner(model).spec.color)
    (milliseconds,) = time_models([model], image)
    return [*figures, Figure("a frame on one core", milliseconds, "ms", at_most=5.0)]


def unlike_arena(places: Places) -> list[Figure]:
    """Train on sixty frames of an arena unlike the bundled model's."""
    project = places.work / f"unlike-{time.strftime('%Y%m%d-%H%M%S')}"
    frames = UNLIKE_FRAMES + UNLIKE_TEST_FRAMES
    write_project(project, frames, UNLIKE)
    figures = _trained(places, "unlike", 0, "--time-limit", "15m", project=project, frames=frames)
    error = next(figure.value for figure in figures if figure.name.startswith("mean"))
    percent = 100 * error / Arena(UNLIKE).body_length_px
    return [*figures, Figure("mean test error, of the body's length", percent, "%", at_most=2.0)]


def _seeds(places: Places, limit: str, at_most: float) -> list[Figure]:
    figures = [
        figure for seed in SEEDS for figure in _trained(places, limit, seed, "--time-limit", limit, limit=at_most)
    ]
    errors = [figure.value for figure in figures if figure.name.startswith("mean")]
    return [*figures, Figure(f"mean of {len(SEEDS)} seeds", statistics.mean(errors), "px")]


def _trained(
    places: Places,
    name: str,
    seed: int,
    *options: str,
    limit: float | None = None,
    project: Path | None = None,
    frames: int = FRAMES,
) -> list[Figure]:
    """Train with one seed, and return the error on the frames that were held out."""
    project = project or places.project
    model = _model(places, name, seed)
    folder = places.work / f"learning-{name}-{seed}-{time.strftime('%Y%m%d-%H%M%S')}.run"
    indices = _test_indices(places, frames, TEST_FRAMES if frames == FRAMES else UNLIKE_TEST_FRAMES)
    started = time.monotonic()
    command = ("train", project, "--out", model, "--seed", str(seed), "--test-indices", indices, "--run-dir", folder)
    run(*command, *options)
    seconds = time.monotonic() - started
    errors: dict[str, Any] = ask("evaluate", model, project, "--indices", indices)
    return [
        Figure(f"mean test error, seed {seed}", errors["mean_error_px"], "px", at_most=limit),
        Figure("  median", errors["median_error_px"], "px"),
        Figure("  root of the mean square", errors["rmse_px"], "px"),
        Figure("  the whole command took", seconds, "s"),
    ]


def _model(places: Places, name: str, seed: int) -> Path:
    return places.work / f"{name}-{seed}.onnx"


def _test_indices(places: Places, frames: int, test_frames: int) -> Path:
    file = places.work / f"test_indices_of_{frames}.json"
    file.write_text(json.dumps(np.random.RandomState(0).permutation(frames)[:test_frames].tolist()))
    return file
