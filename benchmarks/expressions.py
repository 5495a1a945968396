"""What ten triggers' conditions cost at each pose: the scene's update and all ten evaluations.

python benchmarks/expressions.py [--keypoints 12] [--fps 100] [--poses 2000] [--repeats 15]

The animal walks about and through the zones; now and then a keypoint is missing. Prints the median and the least over
the repeats of the mean time of a pose, in microseconds: the least is what a core of its own would need.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from functools import partial

import numpy as np
from poseloop_server.loop.language import Expression, Names, Scene, compile_condition
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.zones import ZoneConfig

WIDTH, HEIGHT = 640, 480
CONDITIONS = (
    "snout in corner and speed(body) > 30",
    "time_in(snout, corner) > 2 s",
    "snout in port and angle(snout, neck, center(port)) < 20 deg",
    "mean(speed(body), 500 ms) < 5 and body not in nest",
    "moved(body, 1 s) < 10 px and confidence(snout) > 0.8",
    "abs(turn_rate(tailbase, neck)) > 180 deg/s",
    "distance(snout, tailbase) < 0.4 * 80 and confidence(tailbase) > 0.6",
    "angle(left_ear, snout, right_ear) > 40 deg or angle_between(heading(neck, snout), 90 deg) < 15",
    "5 < speed(body) <= 40 and distance_to(snout, nest) < 20 px",
    "(snout in arm or neck in arm) and not (speed(snout) > 100) and motion_energy > 2",
)


def names(keypoints: int) -> Names:
    known = ("snout", "neck", "left_ear", "right_ear", "tailbase")
    more = tuple(f"paw{index}" for index in range(keypoints - len(known)))
    return Names(
        keypoints=(*known, *more),
        zones={
            "corner": ZoneConfig.model_validate({"circle": {"center": [0.2, 0.2], "radius": 0.1}, "unit": "fraction"}),
            "port": ZoneConfig.model_validate({"circle": {"center": [600, 240], "radius": 30}}),
            "nest": ZoneConfig.model_validate({"rectangle": {"left": 0, "top": 300, "right": 150, "bottom": 479}}),
            "arm": ZoneConfig.model_validate(
                {"polygon": [[300, 100], [420, 60], [520, 140], [500, 260], [380, 300], [290, 220]]}
            ),
        },
        quantities={"body": "center(neck, tailbase)"},
        values=["motion_energy"],
    )


def walk(known: Names, poses: int, fps: float) -> list[LoopPose]:
    random = np.random.default_rng(0)
    count = len(known.keypoints)
    shape = random.uniform(-30, 30, (count, 2))
    seconds = np.arange(poses) / fps
    center = np.stack([320 + 280 * np.sin(0.7 * seconds), 240 + 200 * np.sin(0.9 * seconds)], axis=1)
    keypoints = np.ones((poses, 1, count, 3), np.float32)
    keypoints[:, 0, :, :2] = center[:, None] + shape + random.normal(0, 0.5, (poses, count, 2))
    keypoints[random.random((poses, 1, count)) < 0.002] = np.nan
    stamps = (seconds * 1e9).astype(np.int64).tolist()
    return [
        LoopPose("cam0", n, at, at, at, WIDTH, HEIGHT, tuple(known.keypoints), pose, {"motion_energy": 2.5})
        for n, (at, pose) in enumerate(zip(stamps, keypoints, strict=True))
    ]


def run(scene: Scene, conditions: list[Expression], poses: list[LoopPose], evaluates: bool) -> float:
    """Return the mean time of a pose in microseconds."""
    scene.reset()
    began = time.perf_counter_ns()
    for pose in poses:
        scene.update(pose)
        if evaluates:
            for condition in conditions:
                condition.evaluate(scene)
    return (time.perf_counter_ns() - began) / 1e3 / len(poses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keypoints", type=int, default=12)
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--poses", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    known = names(given.keypoints)
    began = time.perf_counter_ns()
    conditions = [compile_condition(text, known) for text in CONDITIONS]
    compiled_ms = (time.perf_counter_ns() - began) / 1e6
    scene, poses = Scene(known), walk(known, given.poses, given.fps)
    once = partial(run, scene, conditions, poses)
    whole = [once(True) for _ in range(given.repeats)]
    update = [once(False) for _ in range(given.repeats)]
    figures = {
        "pose_us": round(statistics.median(whole), 2),
        "pose_us_least": round(min(whole), 2),
        "update_us": round(statistics.median(update), 2),
        "compile_ms": round(compiled_ms, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
