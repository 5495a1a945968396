"""Measure what a release has to reach, on real recordings, through the program that users run.

    python scripts/accept.py accuracy    train on openfield within 15 minutes, then the error on its held-out frames
    python scripts/accept.py served      serve that model and follow a whole video, lossless and live
    python scripts/accept.py latency     what serving adds to bare inference
    python scripts/accept.py all         the three, one after the other

Prints a table and writes the figures as JSON; the exit status is 1 where one misses its limit. The recordings are
looked for in $POSELOOP_TEST_DATA or ../shared/data. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import poseloop
from numpy.typing import NDArray
from poseloop_server.processes import Children, ServerAddress
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
POSELOOP = str(Path(sys.executable).parent / "poseloop")
# The split that every accuracy figure for openfield uses.
FRAMES, TEST_FRAMES = 116, 23
TRAIN_LIMIT_S = 15 * 60
VIDEO_FRAMES = 2330
KEYPOINT_TOLERANCE_PX = 1e-3

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Figure:
    """One measurement beside what it has to reach; without a limit it is only told."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    exactly: float | None = None

    @property
    def passed(self) -> bool:
        if self.exactly is not None:
            return self.value == self.exactly
        return self.at_most is None or self.value <= self.at_most

    @property
    def limit(self) -> str:
        if self.exactly is not None:
            return f"= {self.exactly:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"


@dataclass(frozen=True)
class Places:
    """Where the recordings are and where results go."""

    data: Path
    work: Path

    @property
    def project(self) -> Path:
        return self.data / "openfield"

    @property
    def video(self) -> Path:
        return self.project / "videos/m3v1mp4.mp4"

    @property
    def model(self) -> Path:
        return self.work / "openfield.onnx"


def run(*arguments: str | Path) -> None:
    """Run a command of the program; its output goes to the terminal."""
    console.print(f"[dim]$ poseloop {' '.join(map(str, arguments))}[/]", soft_wrap=True)
    subprocess.run([POSELOOP, *arguments], check=True, stdout=sys.stderr)


def ask(*arguments: str | Path) -> Any:
    """Run a command of the program with --json and return its answer."""
    console.print(f"[dim]$ poseloop {' '.join(map(str, arguments))} --json[/]", soft_wrap=True)
    done = subprocess.run([POSELOOP, *arguments, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


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


def latency(_places: Places) -> list[Figure]:
    """Measure what the gRPC path adds to bare inference with the bundled model."""
    frames = 600
    result = ask("bench", "latency", "--transport", "grpc", "--size", "640x480", "--fps", "60", "--frames", str(frames))
    overhead, bare = result["overhead_ms"], result["inference_ms"]
    return [
        Figure("bare inference, median", bare["p50"], "ms"),
        Figure("overhead, median", overhead["p50"], "ms", at_most=1.5),
        Figure("overhead, 99 %", overhead["p99"], "ms", at_most=5.0),
        Figure("frames dropped", result["dropped"], exactly=0),
        Figure("poses published", result["published"], exactly=result["sent"]),
    ]


PARTS: dict[str, Callable[[Places], list[Figure]]] = {"accuracy": accuracy, "served": served, "latency": latency}


def report(figures: dict[str, list[Figure]]) -> Table:
    table = Table(title="What a release has to reach", title_justify="left")
    table.add_column("part")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    for part, measured in figures.items():
        for figure in measured:
            verdict = "" if not figure.limit else "[green]met[/]" if figure.passed else "[bold red]MISSED[/]"
            table.add_row(part, figure.name, f"{figure.value:.4g} {figure.unit}".strip(), figure.limit, verdict)
        table.add_section()
    return table


def write(figures: dict[str, list[Figure]], file: Path) -> None:
    """Add the figures to those of parts that were measured earlier."""
    earlier = json.loads(file.read_text()) if file.exists() else {}
    machine = {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "torch": version("torch"),
    }
    for part, measured in figures.items():
        earlier[part] = {
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": machine,
            "figures": [asdict(figure) | {"passed": figure.passed} for figure in measured],
        }
    file.write_text(json.dumps(earlier, indent=2) + "\n")


def places_of(arguments: argparse.Namespace) -> Places:
    data = Path(os.environ.get("POSELOOP_TEST_DATA") or ROOT.parent / "shared/data")
    if arguments.part != "latency" and not (data / "openfield").is_dir():
        sys.exit(f"The recordings are not at {data}; set POSELOOP_TEST_DATA to their folder.")
    arguments.work.mkdir(parents=True, exist_ok=True)
    places = Places(data, arguments.work)
    if arguments.part == "served" and not places.model.exists():
        sys.exit(f"There is no model {places.model}; run `python scripts/accept.py accuracy` first.")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--work", type=Path, default=ROOT / "runs/accept", help="folder for the model and the figures")
    arguments = parser.parse_args()
    places = places_of(arguments)
    figures = {}
    for part in PARTS if arguments.part == "all" else [arguments.part]:
        figures[part] = PARTS[part](places)
        write({part: figures[part]}, places.work / "figures.json")
    Console().print(report(figures))
    if not all(figure.passed for measured in figures.values() for figure in measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
