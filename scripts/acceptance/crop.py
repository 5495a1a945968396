"""One small animal in a large frame: the window that follows it, beside the whole frame."""

from __future__ import annotations

import time
from itertools import chain

import numpy as np
from poseloop.arena import Arena, ArenaSettings
from poseloop.crop import Crop
from poseloop.types import PixelFormat
from poseloop_server.bundled import arena_model_path
from poseloop_server.following import Following, Pixels
from poseloop_server.model import PoseModel

from acceptance.figures import Figure, Places

SIDE = 1024
# The animal has as many pixels as in the frames that the bundled model was trained on: it is 96 long, its tail 60.
ANIMAL_SIZE = 480 / SIDE
CROP = Crop(256, 256)
WALKS, FRAMES_OF_EACH = 4, 150  # at 60 fps; each begins somewhere else, so with an animal that is lost


def crop(_places: Places) -> list[Figure]:
    """Compare times and errors of the two with the bundled model on one core, frame by frame in turns."""
    arena = Arena(ArenaSettings(width=SIDE, height=SIDE, animal_size=ANIMAL_SIZE, seed=90_001))
    model = PoseModel(arena_model_path(), threads=1)
    following = Following(CROP, model.spec)
    looks = [0]

    def infer(images: np.ndarray) -> np.ndarray:
        looks[0] += 1
        return model.infer(images)

    seconds: dict[str, list[float]] = {"whole": [], "crop": []}
    errors: dict[str, list[np.ndarray]] = {"whole": [], "crop": []}
    for index in chain.from_iterable(range(walk * 3000, walk * 3000 + FRAMES_OF_EACH) for walk in range(WALKS)):
        pixels, truth = Pixels(arena.frame(index), PixelFormat.GRAY8), arena.keypoints(index)
        for name, find in (
            ("whole", lambda pixels: model.infer(pixels.image[np.newaxis, :, :, np.newaxis])[0]),
            ("crop", lambda pixels: following.find(pixels, infer)[0]),
        ):
            before = time.perf_counter()
            found = find(pixels)
            seconds[name].append(time.perf_counter() - before)
            errors[name].append(np.linalg.norm(found[0, :, :2] - truth, axis=1))
    # Sums, so that searches count.
    faster = sum(seconds["whole"]) / sum(seconds["crop"])
    mean = {name: float(np.mean(values)) for name, values in errors.items()}
    median = {name: float(np.median(values)) for name, values in errors.items()}
    return [
        Figure("whole frame, mean", 1000 * float(np.mean(seconds["whole"])), "ms"),
        Figure("crop, mean", 1000 * float(np.mean(seconds["crop"])), "ms"),
        Figure("crop, 99 %", 1000 * float(np.percentile(seconds["crop"], 99)), "ms"),
        Figure("crop, times as fast", faster, at_least=4.0),
        Figure("inferences a frame", looks[0] / len(seconds["crop"])),
        Figure("whole frame, mean error", mean["whole"], "px"),
        Figure("crop, mean error", mean["crop"], "px"),
        Figure("crop, error by that of the whole frame", mean["crop"] / mean["whole"], at_most=1.1),
        Figure("whole frame, median error", median["whole"], "px"),
        Figure("crop, median error", median["crop"], "px", at_most=1.1 * median["whole"]),
    ]
