"""The tables of docs/training.md on what each choice of training is worth: one changed at a time, for the same time.

    python benchmarks/ablations.py PROJECT --test-indices FILE --minutes 6 [--seeds 0,1] [--work FOLDER] [VARIANT...]
    python benchmarks/ablations.py PROJECT --read RUN...

Every training has one core, and as many go on at once as there are cores. A finished one stays in the work folder and
is not repeated, so that a table can be made bit by bit. `--read` tests ways to read keypoints from the maps of trained
networks instead, on the frames that their runs held out. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from poseloop_training import fit, frames
from poseloop_training import train as training
from poseloop_training.checkpoint import read_checkpoint
from poseloop_training.dataset import load_dataset
from poseloop_training.heads import LossSettings, Maps, cell_centres, decode
from poseloop_training.network import PoseNetwork
from poseloop_training.resources import usable_cores
from poseloop_training.run_folder import RunFolder
from poseloop_training.train_request import TrainRequest, prepare
from poseloop_training.tuning import share_the_processor
from rich.console import Console
from torch import Tensor

AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Variant:
    """What differs from the defaults: settings, and what no setting offers."""

    settings: dict[str, Any] = field(default_factory=dict)
    change: Callable[[], None] = lambda: None


def _loss(**changed: float) -> Callable[[], None]:
    return lambda: setattr(fit, "LossSettings", partial(LossSettings, **changed))


def _coarse() -> None:
    frames.FINENESS = 1


class _SlowerBackbone(fit.PoseTraining):
    """Gives the backbone a third of the head's learning rate."""

    part = 1 / 3

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW as ever, the backbone's parameters in groups of their own."""
        optimizer = super().configure_optimizers()
        backbone = set(self.network.backbone.parameters())
        groups = []
        for group in optimizer.param_groups:
            for of_backbone in (False, True):
                chosen = [p for p in group["params"] if (p in backbone) is of_backbone]
                groups.append({**group, "params": chosen, "part": self.part if of_backbone else 1.0})
        return torch.optim.AdamW(groups)

    def on_train_batch_start(self, *arguments: Any) -> None:
        """Set the learning rates for how far the run is."""
        super().on_train_batch_start(*arguments)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] *= group["part"]


def _slower_backbone() -> None:
    training.PoseTraining = _SlowerBackbone  # type: ignore[attr-defined]


VARIANTS = {
    AS_IT_IS: Variant(),
    "resampled after scaling": Variant(change=_coarse),
    "network pixels 213×160": Variant({"input_scale": 1 / 3}),
    "network pixels 640×480": Variant({"input_scale": 1.0}),
    "windows of 96": Variant({"window": 96}),
    "windows of 192": Variant({"window": 192}),
    "windows of 256": Variant({"window": 256}),
    "whole frames": Variant({"window": 320}),
    "heatmaps of stride 8": Variant({"stride": 8}),
    "features up to stride 8": Variant({"most_stride": 8}),
    "features up to stride 32": Variant({"most_stride": 32}),
    "pyramid of 32 channels": Variant({"width": 32}),
    "pyramid of 128 channels": Variant({"width": 128}),
    "learning rate 1e-3": Variant({"learning_rate": 1e-3}),
    "learning rate 4e-3": Variant({"learning_rate": 4e-3}),
    "backbone at a third of the rate": Variant(change=_slower_backbone),
    "batches of 4": Variant({"batch_size": 4}),
    "batches of 16": Variant({"batch_size": 16}),
    "no moving average": Variant({"averaging": 0.0}),
    "moving average 0.998": Variant({"averaging": 0.998}),
    "rotation up to 45°": Variant({"rotation": 45.0}),
    "no zoom": Variant({"zoom_out": 1.0, "zoom_in": 1.0}),
    "no mirror": Variant({"flip": False}),
    "no softmax term": Variant(change=_loss(softmax_weight=0.0)),
    "offsets weigh 3": Variant(change=_loss(offset_weight=3.0)),
    "narrower Gaussian, 1 cell": Variant(change=_loss(sigma=1.0)),
    "random first weights": Variant({"init": "none"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"of: {'; '.join(VARIANTS)}")
    parser.add_argument("--test-indices", type=Path)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--work", type=Path, default=Path("ablations"))
    parser.add_argument("--read", action="store_true", help="test decoders; the arguments are run folders")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args()
    if arguments.read:
        print_decoders(arguments.project, [RunFolder(Path(run)) for run in arguments.variants])
        return
    unknown = set(arguments.variants) - VARIANTS.keys()
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {'; '.join(VARIANTS)}")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    if arguments.one:
        train_one(arguments, arguments.variants[0], seeds[0])
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys([AS_IT_IS, *(arguments.variants or VARIANTS)]))
    with ThreadPoolExecutor(usable_cores()) as pool:
        asked = [(name, seed) for name in names for seed in seeds]
        trained = dict(zip(asked, pool.map(lambda run: train_apart(arguments, *run), asked), strict=True))
    print("| changed | batches a minute | mean test error | of seeds |\n|---|---|---|---|")
    for name in names:
        print(row(name, [trained[name, seed] for seed in seeds]))


def run_folder(work: Path, name: str, seed: int) -> RunFolder:
    """Return where the training of a variant is kept."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    return RunFolder(work / f"{plain}-{seed}.run")


def train_apart(arguments: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """Train a variant in a process of its own, unless that was done; return its metrics."""
    metrics = run_folder(arguments.work, name, seed).path / "metrics.json"
    if not metrics.exists():
        options = ("--test-indices", arguments.test_indices, "--minutes", arguments.minutes, "--work", arguments.work)
        command = (sys.executable, __file__, arguments.project, name, "--one", "--seeds", seed, *options)
        subprocess.run([str(part) for part in command], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, Any] = json.loads(metrics.read_text())
    return found


def train_one(arguments: argparse.Namespace, name: str, seed: int) -> None:
    """Train a variant here, with one thread."""
    started = time.monotonic()
    variant, folder = VARIANTS[name], run_folder(arguments.work, name, seed).path
    variant.change()
    settings = {"seed": seed, "time_limit_s": 60 * arguments.minutes, "patience": 1.0, **variant.settings}
    out, indices = folder.with_suffix(".onnx"), arguments.test_indices
    request = TrainRequest(arguments.project, settings, out, test_indices=indices, run_dir=folder)
    run, dataset, plan = prepare(request, Console(quiet=True))
    training.train(dataset, plan, run, started=started)


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """Return a variant's row."""
    errors = [run["test"]["mean_error_px"] for run in runs]
    rate = statistics.mean(60 * run["history"][-1]["step"] / run["history"][-1]["seconds"] for run in runs)
    each = ", ".join(f"{error:.2f}" for error in errors) if len(errors) > 1 else ""
    return f"| {name} | {rate:.0f} | {statistics.mean(errors):.2f} px | {each} |"


def print_decoders(project: Path, runs: list[RunFolder]) -> None:
    """Print the mean test error of each way to read keypoints, a column a run."""
    dataset = load_dataset(project)
    table: dict[str, list[float]] = {name: [] for name in DECODERS}
    for run in runs:
        split = run.read_plan().split
        checkpoint = read_checkpoint(run.best)
        network = PoseNetwork(checkpoint.config)
        network.load_state_dict(checkpoint.weights)
        network.eval()
        errors: dict[str, list[Tensor]] = {name: [] for name in DECODERS}
        for index in split.test:
            image = torch.from_numpy(dataset.load_image(index, checkpoint.config.color))[None]
            truth = torch.from_numpy(dataset.samples[index].keypoints[0])
            with torch.inference_mode():
                maps = network.maps(network.scaled(image))
            for name, read in DECODERS.items():
                place = (read(maps, checkpoint.config.stride)[0] + 0.5) / checkpoint.config.input_scale - 0.5
                errors[name].append((place - truth).norm(dim=-1))
        for name, found in errors.items():
            table[name].append(float(torch.cat(found).nanmean()))
    print("| read from the maps |" + " mean test error |" * len(runs) + "\n|---|" + "---|" * len(runs))
    for name, means in table.items():
        print(f"| {name} |" + "".join(f" {mean:.2f} px |" for mean in means))


def _best(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Return column and row of each heatmap's best cell, ``[N, K]``."""
    best, width = heatmaps.flatten(2).argmax(dim=-1), heatmaps.shape[-1]
    return best % width, best // width


def _near(heatmaps: Tensor, reach: int) -> Tensor:
    """Return which cells lie in the square around the best one, ``[N, K, h, w]``."""
    column, line = _best(heatmaps)
    h, w = heatmaps.shape[-2:]
    columns = (torch.arange(w) - column[..., None]).abs() <= reach
    lines = (torch.arange(h) - line[..., None]).abs() <= reach
    return lines[..., :, None] & columns[..., None, :]


def best_cell(maps: Maps, stride: int) -> Tensor:
    """Return the centre of the best cell, ``[N, K, 2]`` in network pixels, as all others do."""
    return (torch.stack(_best(maps.heatmaps), dim=-1) + 0.5) * stride - 0.5


def votes(maps: Maps, stride: int, reach: int) -> Tensor:
    """Return what the cells around the best one vote for with their offsets, weighted by their probability."""
    weight = torch.sigmoid(maps.heatmaps) * _near(maps.heatmaps, reach)
    weight = (weight / weight.sum(dim=(-1, -2), keepdim=True))[:, :, None]
    h, w = maps.heatmaps.shape[-2:]
    return (weight * (cell_centres(h, w, stride, weight) + stride * maps.offsets)).sum(dim=(-1, -2))


def soft_argmax(maps: Maps, stride: int, reach: int | None) -> Tensor:
    """Return the mean place under the softmax of the heatmap, or of the square around its best cell."""
    logits, (h, w) = maps.heatmaps, maps.heatmaps.shape[-2:]
    if reach is not None:
        logits = logits.masked_fill(~_near(logits, reach), -torch.inf)
    n, k = logits.shape[:2]
    weight = logits.flatten(2).softmax(dim=-1).view(n, k, 1, h, w)
    return (weight * cell_centres(h, w, stride, weight)).sum(dim=(-1, -2))


def dark(maps: Maps, stride: int) -> Tensor:
    """Return the top of a parabola through the logarithm of the smoothed heatmap (Zhang et al. 2020, DARK)."""
    n, k, h, w = maps.heatmaps.shape
    bell = torch.exp(-torch.arange(-3, 4).float().square() / 2)
    bell /= bell.sum()
    smooth = torch.sigmoid(maps.heatmaps).reshape(n * k, 1, h, w)
    for kernel in (bell.view(1, 1, 1, 7), bell.view(1, 1, 7, 1)):
        smooth = torch.nn.functional.conv2d(smooth, kernel, padding="same")
    logarithm = smooth.clamp(min=1e-10).log().reshape(n, k, h, w)
    column, line = (at.clamp(1, size - 2) for at, size in zip(_best(maps.heatmaps), (w, h), strict=True))

    def at(dx: int, dy: int) -> Tensor:
        return logarithm.flatten(2).gather(2, ((line + dy) * w + column + dx)[..., None])[..., 0]

    slope = torch.stack((at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)), dim=-1) / 2
    xx, yy = at(1, 0) - 2 * at(0, 0) + at(-1, 0), at(0, 1) - 2 * at(0, 0) + at(0, -1)
    xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    determinant = xx * yy - xy.square()
    step = torch.stack((xy * slope[..., 1] - yy * slope[..., 0], xy * slope[..., 0] - xx * slope[..., 1]), dim=-1)
    step = torch.where((determinant > 0)[..., None], step / determinant[..., None], 0).clamp(-1, 1)
    return (torch.stack((column, line), dim=-1) + 0.5 + step) * stride - 0.5


DECODERS: dict[str, Callable[[Maps, int], Tensor]] = {
    "the best cell": best_cell,
    "its offset": partial(votes, reach=0),
    "**the offsets of 3×3 cells, as it is**": lambda maps, stride: decode(maps, stride)[..., :2],
    "the offsets of 5×5 cells": partial(votes, reach=2),
    "the offsets of 7×7 cells": partial(votes, reach=3),
    "DARK": dark,
    "soft-argmax of all cells": partial(soft_argmax, reach=None),
    "soft-argmax of 5×5 cells": partial(soft_argmax, reach=2),
    "soft-argmax of 7×7 cells": partial(soft_argmax, reach=3),
}


if __name__ == "__main__":
    share_the_processor()
    main()
