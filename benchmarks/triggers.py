"""The time that ten triggers take of a pose, stages left out: from the pose to its decisions, as in the server.

    python benchmarks/triggers.py [--poses N]

An animal of eight keypoints walks at random through a frame of 640x480 at 100 frames a second. Prints percentiles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from poseloop.clock import now_ns
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import read_loop
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.yaml_lines import parse_document

NAMES = ("snout", "leftear", "rightear", "neck", "back", "leftside", "rightside", "tailbase")
OUTLINE = np.array([[30, 0], [18, -8], [18, 8], [12, 0], [0, 0], [0, -10], [0, 10], [-25, 0]], np.float32)
FRAME_NS = 10_000_000
CONFIG = """
experiment: benchmark
outputs: {laser: {type: serial, port: none}}
streams:
  cam0:
    pixels_per_cm: 12.5
    zones:
      corner: {circle: {center: [0.1, 0.1], radius: 0.15}, unit: fraction}
      nest: {polygon: [[400, 300], [620, 300], [620, 460], [500, 470], [400, 460]]}
    quantities: {walking: speed(back)}
    triggers:
      reward: {when: snout in corner and walking > 30, hold_ms: 200, on_rise: &pulse {laser: {pulse_ms: 10}}}
      air:
        when: snout in nest
        until: distance_to(snout, nest) > 20
        on_rise: {laser: {state: on}}
        on_fall: {laser: {state: off}}
      run: {when: speed(back) > 8 cm/s, refractory_ms: 2000, on_rise: *pulse}
      rest: {when: speed(back) < 1 cm/s, hold_ms: 1000, on_rise: *pulse}
      turn: {when: "angle(tailbase, neck, snout) < 150", on_rise: *pulse}
      rear: {when: "distance(snout, tailbase) < 40", on_rise: *pulse}
      look: {when: "angle(leftear, snout, rightear) > 40 and snout in corner", on_rise: *pulse}
      stay: {when: "time_in(back, nest) > 2 s", at_most: {per_minute: 6}, on_rise: *pulse}
      left: {when: x(snout) < 200 and y(snout) > 100 and not snout in corner, on_rise: *pulse}
      sham: {when: walking > 100, probability: 0.5, on_rise: *pulse}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=20_000)
    count = parser.parse_args().poses
    chain = StreamLoop(read_loop(parse_document(CONFIG, "benchmark"), Path()), "cam0", NAMES, began_ns=0)
    times_us, decisions = np.empty(count), 0
    for index, keypoints in enumerate(walk(count)):
        pose = pose_at(index, keypoints)
        before_ns = now_ns()
        step = chain.process(pose)
        times_us[index] = (now_ns() - before_ns) / 1e3
        decisions += len(step.decisions)
    p50, p99 = np.percentile(times_us, [50, 99])
    mean = times_us.mean()
    print(f"{count} poses, {decisions} decisions: p50 {p50:.1f} us, p99 {p99:.1f} us, mean {mean:.1f} us")


def walk(count: int) -> np.ndarray:
    """Return float32 (count, 1, keypoints, 3): an animal that walks, turns and rests, mostly seen well."""
    draws = np.random.default_rng(5)
    heading = np.cumsum(draws.normal(0, 0.05, count))
    pace = np.abs(np.cumsum(draws.normal(0, 0.1, count)) % 6 - 3)  # pixels a frame
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * pace[:, None]
    size = np.array([640, 480])
    places = np.abs((np.cumsum(steps, axis=0) + size / 2) % (2 * size) - size)  # turned back at the walls
    cos, sin = np.cos(heading), np.sin(heading)
    turned = np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)
    points = OUTLINE @ turned + places[:, None] + draws.normal(0, 0.3, (count, len(NAMES), 2))
    confidence = np.where(draws.random((count, len(NAMES), 1)) < 0.01, 0.3, 0.95)
    return np.concatenate([points, confidence], axis=2).astype(np.float32)[:, None]


def pose_at(index: int, keypoints: np.ndarray) -> LoopPose:
    at = index * FRAME_NS
    return LoopPose("cam0", index, at, at + 3_000_000, at, 640, 480, NAMES, keypoints)


if __name__ == "__main__":
    main()
