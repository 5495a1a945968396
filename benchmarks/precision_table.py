"""The table of docs/training.md: backbone x size x precision, milliseconds of one core and errors where trained.

    python benchmarks/precision_table.py PROJECT RUN... [--backbones A,B] [--scales 1,1/2,1/3] [--widths 64,32]

Every network is timed with random weights. A RUN is the folder of `poseloop train PROJECT`; its network is exported in
each precision and tested on the frames that the run held out, and its row carries the errors. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from fractions import Fraction
from itertools import product
from pathlib import Path

from poseloop_training.backbone import DEFAULT_BACKBONE
from poseloop_training.checkpoint import read_checkpoint
from poseloop_training.dataset import PoseDataset, load_dataset
from poseloop_training.network import NetworkConfig
from poseloop_training.precision import Frames, export_lowered
from poseloop_training.run_folder import RunFolder
from poseloop_training.settings import TrainSettings, choose_network, native_size
from poseloop_training.speed import measure

PRECISIONS = ("fp32", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--backbones", default=DEFAULT_BACKBONE)
    parser.add_argument("--scales", default="1,1/2,1/3,1/4")
    parser.add_argument("--widths", default="64,32")
    arguments = parser.parse_args()
    dataset = load_dataset(arguments.project)
    errors = {}
    for run in arguments.runs:
        config, found = trained(run, dataset)
        errors[config] = found
    print("| backbone | width | network pixels | precision | ms a frame | mean test error |\n|---|---|---|---|---|---|")
    scales = [float(Fraction(scale)) for scale in arguments.scales.split(",")]
    axes = product(arguments.backbones.split(","), scales, map(int, arguments.widths.split(",")))
    asked = [
        choose_network(TrainSettings(backbone=backbone, input_scale=scale, width=width), dataset)
        for backbone, scale, width in axes
    ]
    for config in dict.fromkeys([*asked, *errors]):
        print("\n".join(rows(config, dataset, errors.get(config, {}))), flush=True)


def rows(config: NetworkConfig, dataset: PoseDataset, errors: dict[str, float]) -> list[str]:
    """Return the rows of one network."""
    width, height = native_size(dataset)
    size = f"{width * config.input_scale:.0f}×{height * config.input_scale:.0f}"
    image = dataset.load_image(0, config.color)
    return [
        f"| {config.backbone} | {config.width} | {size} | {timed.precision} | {timed.milliseconds:.1f} | "
        f"{f'{errors[timed.precision]:.2f} px' if timed.precision in errors else ''} |"
        for timed in measure(config, PRECISIONS, image, (width, height))
    ]


def trained(folder: Path, dataset: PoseDataset) -> tuple[NetworkConfig, dict[str, float]]:
    """Return a run's network and its mean test errors by precision."""
    run = RunFolder(folder)
    checkpoint, plan = read_checkpoint(run.best), run.read_settings()
    plan.refuse_other_labels(dataset, folder)
    frames = Frames.of(dataset, plan.split, checkpoint.spec)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "int8.onnx"
        labelled = (dataset, plan.split)
        record = export_lowered("int8", checkpoint.build(), checkpoint.spec, frames, out, labelled)
    if record.test is None or record.record.fp32_mean_error_px is None:
        return checkpoint.config, {}
    return checkpoint.config, {"fp32": record.record.fp32_mean_error_px, "int8": record.test.summary.mean_px}


if __name__ == "__main__":
    main()
