"""`poseloop export`: a checkpoint as a model file, in the precision that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from poseloop.errors import InvalidInputError
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from poseloop_training.checkpoint import Checkpoint
    from poseloop_training.dataset import PoseDataset
    from poseloop_training.precision import Frames
    from poseloop_training.split import Split


def register(app: typer.Typer) -> None:
    """Add the command `export`."""
    app.command("export")(export)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="best.ckpt or last.ckpt of a run folder.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The model file to write.")] = Path("model.onnx"),
    images: Annotated[
        Path | None,
        typer.Option(help="A frame to check the graph on; noise of the native size if not given.", show_default=False),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="int8 for CPUs, calibrated on frames of --project; fp16 for GPUs."),
    ] = "fp32",
    project: Annotated[
        Path | None,
        typer.Option(
            help="The labels that the run was trained on: for the ranges of int8 and the errors on the test frames.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it costs and gains as JSON.")] = False,
) -> None:
    """Export a checkpoint as a model file, checked against PyTorch."""
    from poseloop_training.checkpoint import read_checkpoint
    from poseloop_training.export import export_model, parity_images
    from poseloop_training.train_request import check_out

    check_out(out)
    console = Console(stderr=True, highlight=False)
    loaded = read_checkpoint(checkpoint)
    if precision == "fp32":
        parity = export_model(loaded.build(), loaded.spec, parity_images(loaded.spec, images), out)
        console.print(f"{escape(str(out))} written; {parity}.")
        if as_json:
            typer.echo(json.dumps({"model": str(out), "precision": precision}, indent=2))
        return
    from poseloop_training.precision import export_lowered, report

    frames, labelled = _material(precision, loaded, checkpoint, images, project, console)
    with console.status(f"Measuring {precision}"):
        lowered = export_lowered(precision, loaded.build(), loaded.spec, frames, out, labelled)
    console.print(f"{escape(str(out))} written; in fp32 {lowered.parity}.", soft_wrap=True)
    console.print(str(lowered), markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({"model": str(out), **report(lowered)}, indent=2))


def _material(
    precision: str, loaded: Checkpoint, checkpoint: Path, images: Path | None, project: Path | None, console: Console
) -> tuple[Frames, tuple[PoseDataset, Split] | None]:
    """Return the frames to calibrate and compare on, and the labels of those of the test.

    Raises:
        InvalidInputError: there are no frames to do it on, or the project is not that of the run.
    """
    from poseloop_training.dataset import load_dataset
    from poseloop_training.export import parity_images
    from poseloop_training.precision import Frames
    from poseloop_training.problems import show_and_refuse
    from poseloop_training.run_folder import RunFolder

    if project is None:
        if precision == "int8":
            raise InvalidInputError(
                "--precision int8 is calibrated on frames that the model was trained on; give their labels with "
                "--project."
            )
        if images is None:
            raise InvalidInputError(
                "--precision fp16 is compared with fp32 on frames; give labels with --project, or one frame with "
                "--images."
            )
        one = parity_images(loaded.spec, images)
        return Frames(one, one, one), None
    run = RunFolder(checkpoint.parent)
    plan = run.read_settings()
    dataset = load_dataset(project)
    show_and_refuse(dataset, console)
    plan.refuse_other_labels(dataset, run.path)
    return Frames.of(dataset, plan.split, loaded.spec), (dataset, plan.split)
