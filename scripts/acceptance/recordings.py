"""Training and following on real recordings."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import poseloop
from numpy.typing import NDArray
from poseloop_server.processes import Children, ServerAddress

from acceptance.figures import POSELOOP, Figure, Places, ask, console, run

# The split that every accuracy figure for openfield uses.
FRAMES, TEST_FRAMES = 116, 23
TRAIN_LIMIT_S = 15 * 60
VIDEO_FRAMES = 2330
KEYPOINT_TOLERANCE_PX = 1e-3


def accuracy(places: Places) -> list[Figure]:
    """Train on openfield's standard split and measure on the frames that were held out."""
    indices = places.work / "openfield_test.json"
    order = np.random.RandomState(0).permutation(FRAMES)
    indices.write_text(json.dumps(order[:TEST_FRAMES].tolist()))
    started = time.monotonic()
    run(
        "train", places.project, "--out", places.model, "--time-limit", "15m", "--test-indices", indices,
        "--run-dir", places.work / f"run-{time.strftime('%Y%m%d-%H%M%S')}",
    )  # fmt: skip
    seconds = time.monotonic() - started
    errors = ask("evaluate", places.model, places.project, "--indices", indices)
    return [
        Figure("training, whole command", seconds, "s", at_most=TRAIN_LIMIT_S),
        Figure("mean test error", errors["mean_error_px"], "px", at_most=3.3),
        Figure("median test error", errors["median_error_px"], "px"),
        Figure("root of the mean squared test error", errors["rmse_px"], "px"),
        Figure("test frames", errors["frames"], exactly=TEST_FRAMES),
    ]


@dataclass(frozen=True)
class Followed:
    """One stream as its sender and a subscriber saw it."""

    poses: list[poseloop.Pose]
    account: dict[str, Any]

    @property
    def in_order(self) -> int:
        """How many of the poses came with the number of their place."""
        return sum(pose.sequence == place for place, pose in enumerate(self.poses))


def served(places: Places) -> list[Figure]:
    """Serve the trained model and follow a whole video: every frame, then at the speed it was recorded with."""
    table = places.work / "track.h5"
    run("track", places.video, "--model", places.model, "--output", table, "--force")
    with Children() as children:
        server = children.start_server("--model", str(places.model), "--threads", str(os.cpu_count() or 1))
        addresses = children.server_address(server)
        lossless = follow(addresses, places.video, "lossless", "--policy", "lossless", "--speed", "max")
        live = follow(addresses, places.video, "live", "--policy", "live", "--fps", "30")
    return [
        Figure("lossless: poses published", lossless.account["published"], exactly=VIDEO_FRAMES),
        Figure("lossless: poses at the subscriber, in order", lossless.in_order, exactly=VIDEO_FRAMES),
        Figure("lossless: poses at the subscriber", len(lossless.poses), exactly=VIDEO_FRAMES),
        Figure(
            "lossless: farthest from `poseloop track`", distance(lossless.poses, table), "px",
            at_most=KEYPOINT_TOLERANCE_PX,
        ),
        Figure("live at 30 fps: frames sent", live.account["sent"], exactly=VIDEO_FRAMES),
        Figure("live at 30 fps: poses published", live.account["published"], exactly=VIDEO_FRAMES),
        Figure("live at 30 fps: dropped", live.account["dropped"], exactly=0),
        Figure("live at 30 fps: poses at the subscriber", len(live.poses), exactly=VIDEO_FRAMES),
        Figure("live at 30 fps: latency, median", percentile([p.stamps.age_ms for p in live.poses], 50), "ms"),
        Figure("live at 30 fps: latency, 99 %", percentile([p.stamps.age_ms for p in live.poses], 99), "ms"),
    ]  # fmt: skip


def follow(addresses: ServerAddress, video: Path, name: str, *options: str) -> Followed:
    """Stream a video from a process of its own and take in the poses here."""
    with poseloop.subscribe(addresses.publish, stream=name) as subscription:
        subscription.wait_until_ready()
        command = [POSELOOP, "stream", str(video), "--name", name, "--server", addresses.grpc, *options, "--json"]
        console.print(f"[dim]$ poseloop {' '.join(command[1:])}[/]", soft_wrap=True)
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        poses = []
        while (pose := subscription.receive(timeout_s=1.0)) is not None or sender.poll() is None:
            if pose is not None:
                poses.append(pose)
    account = json.loads(sender.communicate()[0])
    return Followed(poses, account)


def distance(poses: list[poseloop.Pose], table: Path) -> float:
    """Return the largest difference in x or y between poses and a table of `poseloop track`, in pixels."""
    import pandas as pd

    tracked = pd.read_hdf(table).to_numpy()
    streamed = np.array([pose.keypoints.reshape(-1) for pose in poses], dtype=np.float64)
    if tracked.shape != streamed.shape:
        return math.inf
    both = np.stack([part.reshape(len(part), -1, 3)[:, :, :2] for part in (tracked, streamed)])
    absent: NDArray[np.bool_] = np.isnan(both)
    if (absent[0] != absent[1]).any():
        return math.inf
    return float(np.nanmax(np.abs(both[0] - both[1])))


def percentile(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else math.nan
