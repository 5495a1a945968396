"""What the record costs: the model's thread, the writer's thread, and the disk; and how it compares with digits.

python benchmarks/record.py [--seconds 20] [--fps 100] [--keypoints 5]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from poseloop.clock import now_ns
from poseloop_server.record.encode import PoseRecord, packed, pose_line
from poseloop_server.record.header import Experiment
from poseloop_server.record.reader import Log
from poseloop_server.record.writer import LogWriter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--keypoints", type=int, default=5)
    chosen = parser.parse_args()
    live(chosen.seconds, chosen.fps, chosen.keypoints)
    forms(chosen.fps, chosen.keypoints)


def live(seconds: float, fps: float, keypoints: int) -> None:
    """Log poses at a rate, as a model's thread does, and print what each of the threads pays."""
    draws = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(Experiment("bench", {}), Path(folder))
        clock = time.pthread_getcpuclockid(writer._thread.ident) if hasattr(time, "pthread_getcpuclockid") else None
        costs_us, before_s = [], 0.0 if clock is None else time.clock_gettime(clock)
        began, poses = time.perf_counter(), round(seconds * fps)
        for number in range(poses):
            time.sleep(max(0.0, began + number / fps - time.perf_counter()))
            seen = draws.normal(200, 50, (1, keypoints, 3)).astype(np.float32)
            after, start_ns = seen + 1, now_ns()
            pose = record(number, seen, after)
            made_ns = now_ns()
            writer.pose(pose)
            costs_us.append(((made_ns - start_ns) / 1e3, (now_ns() - made_ns) / 1e3))
        spent_s = None if clock is None else time.clock_gettime(clock) - before_s
        writer.close()
        size, path = writer.path.stat().st_size, writer.path
        for what, costs in zip(
            ("to make a pose's record", "to hand it to the writer"), np.array(costs_us).T, strict=True
        ):
            p50, p99 = np.percentile(costs, (50, 99))
            print(f"the model's thread, {what}: {p50:.1f} us (p99 {p99:.1f}); {fps:g} fps")
        if spent_s is not None:
            print(f"the writer's thread: {100 * spent_s / seconds:.2f} % of a core")
        hour = size / poses * fps * 3600 / 1e6
        print(f"the disk: {size / poses:.0f} bytes a pose, {hour:.0f} MB an hour; lost {writer.lost}")
        print(f"reading: {once(lambda: list(Log(path).lines())) / poses:.1f} us a line")


def forms(fps: float, keypoints: int) -> None:
    """Print what one pose costs in base64 and in digits, none of which loses a bit."""
    seen = np.random.default_rng(0).normal(200, 50, (1, keypoints, 3)).astype(np.float32)
    pose = record(1, seen, None)
    fields = json.loads(pose_line(pose, 0))

    def digits(values: object) -> bytes:
        return json.dumps({**fields, "keypoints": values}, separators=(",", ":")).encode()

    writers: dict[str, Callable[[], bytes]] = {
        "base64, as it is": lambda: pose_line(pose, 0),
        "digits of float64 (17)": lambda: digits(seen.tolist()),
        "digits of float32 (9)": lambda: digits([float(np.format_float_positional(x)) for x in seen.ravel()]),
    }
    for name, write in writers.items():
        line = write()
        hour = len(line) * fps * 3600 / 1e6
        writing, reading = repeated(write), repeated(lambda line=line: json.loads(line))
        print(f"{name}: {len(line)} bytes, {hour:.0f} MB an hour; {writing:.1f} us to write, {reading:.1f} us to parse")


def record(number: int, seen: np.ndarray, staged: np.ndarray | None) -> PoseRecord:
    now = now_ns()
    stamps = (now - 5_000_000, now - 4_800_000, now - 4_700_000, now - 200_000, now - 150_000, now)
    after = None if staged is None else packed(staged)
    return PoseRecord("cam0", number, *stamps, 640, 480, packed(seen), after, 0)


def once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e6


def repeated(work: Callable[[], object], times: int = 5000) -> float:
    return min(once(lambda: [work() for _ in range(times)]) / times for _ in range(3))


if __name__ == "__main__":
    main()
