"""Train the bundled model on the synthetic arena, by the product's own `poseloop train`: `make arena-model`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from poseloop.arena import Arena, ArenaSettings
from poseloop.arena_dataset import vary, write_project

MODEL = Path(__file__).parents[1] / "server" / "poseloop_server" / "models" / "arena.onnx"
MOST_BYTES = 5_000_000
FRAMES, APPEARANCES = 1500, 150
# The finest stages of the default backbone on a quarter of the frame's resolution: three milliseconds on one core. They
# still see the whole animal at once. The arena shows every heading and look by itself, so augmentation is left to vary
# size and light.
OPTIONS = [
    "--most-stride=8",
    "--width=32",
    "--input-scale=0.25",
    "--batch-size=16",
    "--learning-rate=0.003",
    "--rotation=0",
    "--zoom-out=0.55",
    "--test-fraction=0.05",
    "--validation-fraction=0.03",
    "--name=arena",
    "--license=Apache-2.0",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", default="11m")
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="arena-") as folder:
        project = Path(folder) / "arena"
        write_project(project, FRAMES, ArenaSettings(seed=arguments.seed), appearances=APPEARANCES, seed=arguments.seed)
        command = [sys.executable, "-m", "poseloop.cli", "train", str(project), "--out", str(arguments.out)]
        limits = ["--time-limit", arguments.time_limit, "--seed", str(arguments.seed), "--run-dir", f"{folder}/run"]
        subprocess.run([*command, *limits, *OPTIONS], check=True)
    if arguments.out.stat().st_size > MOST_BYTES:
        sys.exit(f"{arguments.out} has {arguments.out.stat().st_size} bytes, more than {MOST_BYTES}")
    report = {f"{width}x{height}": errors(arguments.out, width, height) for width, height in ((640, 480), (320, 240))}
    print(json.dumps(report, indent=2))


def errors(model: Path, width: int, height: int) -> dict[str, dict[str, float]]:
    """Return errors in pixels on arenas that training has not seen: the default look, and varied ones."""
    from poseloop_training.model_runner import ModelRunner

    runner = ModelRunner(model)
    default = [ArenaSettings(width=width, height=height, seed=90_001)]
    varied = [vary(ArenaSettings(width=width, height=height), seed) for seed in range(10**7, 10**7 + 40)]
    report = {}
    for title, looks, frames in (("default look", default, range(0, 12_000, 60)), ("varied looks", varied, range(5))):
        distances = []
        for look in looks:
            arena = Arena(look)
            for frame in frames:
                index = frame if len(looks) == 1 else frame * 997 + 13
                found = runner.predict([arena.frame(index)[..., None]])[0, 0]
                distances.append(np.linalg.norm(found[:, :2] - arena.keypoints(index), axis=1))
        values = np.concatenate(distances)
        report[title] = {
            "mean_px": round(float(values.mean()), 3),
            "median_px": round(float(np.median(values)), 3),
            "p99_px": round(float(np.percentile(values, 99)), 3),
            "max_px": round(float(values.max()), 3),
        }
    return report


if __name__ == "__main__":
    main()
