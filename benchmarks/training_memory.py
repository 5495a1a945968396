"""How much memory `poseloop train` takes for 1,000, 10,000 and 50,000 frames: the process and its data workers.

python benchmarks/training_memory.py [--frames 1000 10000 50000] [--labels coco|slp] [--steps 40] [-- OPTIONS OF TRAIN]

Frames are of the synthetic arena: a few dozen different JPEGs of 320x240, hard-linked under as many names as there are
frames to be, or one video; labels are COCO keypoints or a SLEAP file. Each training is a process of its own. Memory is
private to the process (USS); where a system does not tell that, all that is resident.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from poseloop.arena import Arena, ArenaSettings

DISTINCT = 48
SMALL = ("--backbone", "mobilenetv4_conv_small_035", "--init", "none", "--width", "16", "--window", "96")
# Few frames are tested and validated: their number changes the time, and this is about memory.
FEW = ("--test-fraction", "0.002", "--validation-fraction", "0.002")
# An epoch is as short as the measurement shall be.
PROGRAM = "import poseloop_training.fit as fit; fit.MOST_BATCHES = {steps}; import poseloop.cli as c; c.main()"
MB = 1 << 20


def write_coco(folder: Path, arena: Arena, frames: int) -> Path:
    for number in range(DISTINCT):
        cv2.imwrite(str(folder / f"{number}.jpg"), arena.frame(7 * number))
    truth = [arena.keypoints(7 * number).reshape(-1, 2) for number in range(DISTINCT)]
    images, annotations = [], []
    for frame in range(frames):
        name = f"images/session{frame // 1000:03d}/img{frame:06d}.jpg"
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / f"{frame % DISTINCT}.jpg", place)
        images.append({"id": frame, "file_name": name, "width": 320, "height": 240})
        flat = [value for x, y in truth[frame % DISTINCT].tolist() for value in (round(x, 2), round(y, 2), 2)]
        box = [0, 0, 320, 240]
        annotations.append({"id": frame, "image_id": frame, "category_id": 1, "bbox": box, "keypoints": flat})
    category = {"id": 1, "name": "mouse", "keypoints": list(arena.keypoint_names), "skeleton": []}
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [category]}))
    return file


def write_slp(folder: Path, arena: Arena, frames: int) -> Path:
    import sleap_io

    video = folder / "arena.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (320, 240))
    drawn = [cv2.cvtColor(np.squeeze(arena.frame(7 * number)), cv2.COLOR_GRAY2BGR) for number in range(DISTINCT)]
    for frame in range(frames):
        writer.write(drawn[frame % DISTINCT])
    writer.release()
    skeleton = sleap_io.Skeleton(nodes=list(arena.keypoint_names))
    source = sleap_io.Video(filename=str(video), open_backend=False)
    truth = [arena.keypoints(7 * number).reshape(-1, 2) for number in range(DISTINCT)]
    labelled = [
        sleap_io.LabeledFrame(
            video=source,
            frame_idx=frame,
            instances=[sleap_io.Instance.from_numpy(truth[frame % DISTINCT], skeleton=skeleton)],
        )
        for frame in range(frames)
    ]
    file = folder / "labels.slp"
    sleap_io.save_slp(sleap_io.Labels(labelled), str(file), verbose=False)
    return file


@dataclass
class Peaks:
    """The most memory seen, in MB: of the process while it reads the labels and after, and of all its workers."""

    loading: float = 0.0
    training: float = 0.0
    workers: float = 0.0
    most_workers: int = 0
    loaded: bool = False


def memory_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().uss) / MB
    except (psutil.AccessDenied, AttributeError):
        return float(process.memory_info().rss) / MB


def watch(process: subprocess.Popen[str], peaks: Peaks) -> None:
    seen = psutil.Process(process.pid)
    while process.poll() is None:
        loaded = peaks.loaded
        try:
            own, workers = memory_mb(seen), [memory_mb(child) for child in seen.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        if loaded:
            peaks.training = max(peaks.training, own)
            peaks.workers = max(peaks.workers, sum(workers))
            peaks.most_workers = max(peaks.most_workers, len(workers))
        elif not peaks.loaded:
            peaks.loading = max(peaks.loading, own)
        time.sleep(0.1)


def measure(labels: Path, steps: int, options: list[str]) -> tuple[Peaks, dict[str, float]]:
    started = time.monotonic()
    command = [sys.executable, "-c", PROGRAM.format(steps=steps), "train", str(labels)]
    command += ["--out", str(labels.with_name("m.onnx")), *SMALL, *FEW, "--epochs", "1", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8")
    peaks, moments, said = Peaks(), {}, []
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if "frames to train on" in line:
            peaks.loaded = True
            moments["loaded"] = time.monotonic() - started
        elif "%" in line and "started" not in moments:
            moments["started"] = time.monotonic() - started
    watcher.join()
    if process.wait():
        raise SystemExit("".join(said))
    moments["ended"] = time.monotonic() - started
    return peaks, moments


def row(frames: int, peaks: Peaks, moments: dict[str, float]) -> dict[str, Any]:
    return {
        "frames": frames,
        "loading_mb": round(peaks.loading),
        "training_mb": round(peaks.training),
        "workers": peaks.most_workers,
        "workers_mb": round(peaks.workers),
        **{f"{name}_s": round(seconds, 1) for name, seconds in moments.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--labels", choices=("coco", "slp"), default="coco")
    parser.add_argument("--steps", type=int, default=40, help="of 8 frames")
    parser.add_argument("options", nargs="*", help="of `poseloop train`, after --")
    given = parser.parse_args()
    arena = Arena(ArenaSettings(width=320, height=240, seed=3))
    for frames in given.frames:
        with tempfile.TemporaryDirectory() as folder:
            labels = (write_coco if given.labels == "coco" else write_slp)(Path(folder), arena, frames)
            print(json.dumps(row(frames, *measure(labels, given.steps, given.options))), flush=True)


if __name__ == "__main__":
    main()
