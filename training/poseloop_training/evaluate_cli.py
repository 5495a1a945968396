"""`poseloop evaluate`: the errors of a model file on labelled frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

    from poseloop_training.dataset import PoseDataset
    from poseloop_training.evaluate import EvaluationResult
    from poseloop_training.model_runner import ModelRunner


def register(app: typer.Typer) -> None:
    """Add the command `evaluate`."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file, .onnx.", show_default=False)],
    project: Annotated[
        Path,
        typer.Argument(
            help="Labels: DeepLabCut project folder or CollectedData file, SLEAP .slp, COCO .json.", show_default=False
        ),
    ],
    indices: Annotated[
        Path | None,
        typer.Option(
            help="File with the frames to test on, a JSON list or one number a line, counted from 0 in the order of "
            "the labels; all frames if not given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    draw: Annotated[
        Path | None,
        typer.Option(help="Folder to draw the worst frames and the reliability curve into.", show_default=False),
    ] = None,
) -> None:
    """Measure a model's errors on labelled frames, in pixels of the original images."""
    from poseloop_training.dataset import load_dataset
    from poseloop_training.drawing import draw_reliability, draw_worst
    from poseloop_training.indices import read_indices, refuse_other_rows
    from poseloop_training.model_runner import ModelRunner
    from poseloop_training.problems import show_and_refuse
    from poseloop_training.reliability import RELIABILITY, reliability_of

    messages = Console(stderr=True, highlight=False)
    runner = ModelRunner(model)
    dataset = load_dataset(project)
    show_and_refuse(dataset, messages)
    if indices is not None:
        refuse_other_rows(indices, dataset.rows_sha256())
    chosen = tuple(range(len(dataset))) if indices is None else read_indices(indices, len(dataset))
    trained_on = _trained_on(runner, dataset)
    if trained_on and indices is None:
        messages.print(
            "[yellow]warning[/] the model was trained on frames of this dataset, so errors over all of them look "
            "better than they are; give the test frames with --indices (test_frames.json of its run folder)."
        )
    result = _run(runner, dataset, chosen, messages)
    confidence = reliability_of(result, runner.spec)
    files = [*draw_worst(result, dataset, draw), draw_reliability(confidence, draw / RELIABILITY)] if draw else []
    if as_json:
        report = {
            **result.to_json(),
            "confidence": confidence.to_json(),
            "model": runner.spec.name,
            "dataset": dataset.name,
            "trained_on_this_dataset": trained_on,
            "drawn": [str(file) for file in files],
        }
        typer.echo(json.dumps(report, indent=2))
        return
    console = Console(highlight=False)
    console.print(error_table(result))
    console.print(worst_table(result))
    console.print(str(confidence), soft_wrap=True)
    if files:
        console.print(f"{len(files) - 1} frames and {RELIABILITY} drawn into {draw}", markup=False)


def error_table(result: EvaluationResult) -> Table:
    """Return the errors over all keypoints and of each one as a Rich table."""
    from rich.table import Table

    table = Table(
        title=f"Errors on {result.labelled_frames} frames, in pixels of the original images; ≤ 5: part within 5 pixels",
        title_justify="left",
    )
    table.add_column("keypoint", no_wrap=True)
    radii = list(result.summary.pck_radius)
    for title in ("n", "mean", "median", "rmse", *(f"≤ {radius:g}" for radius in radii)):
        table.add_column(title, justify="right")
    rows = [*result.per_keypoint.items(), ("all", result.summary)]
    for name, errors in rows:
        missed = f" ({errors.missed} missed)" if errors.missed else ""
        pixels = [f"{value:.2f}" for value in (errors.mean_px, errors.median_px, errors.rmse_px)]
        parts = [f"{errors.pck_radius[radius]:.1%}" for radius in radii]
        if not errors.labelled:
            pixels, parts = ["-"] * len(pixels), ["-"] * len(parts)
        if name == "all" and errors is result.summary:
            table.add_section()
        table.add_row(_plain(name), f"{errors.labelled}{missed}", *pixels, *parts)
    return table


def worst_table(result: EvaluationResult, count: int = 5) -> Table:
    """Return the frames with the largest mean errors as a Rich table."""
    from rich.table import Table

    table = Table(title="Worst frames", title_justify="left")
    for title in ("frame", "image", "mean px", "worst keypoint", "px"):
        table.add_column(title, justify="right" if title in ("frame", "mean px", "px") else "left")
    for frame in result.worst_frames(count):
        table.add_row(
            str(frame.index), _plain(frame.image), f"{frame.mean_px:.2f}", _plain(frame.worst_keypoint),
            f"{frame.worst_px:.2f}",
        )  # fmt: skip
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)  # a keypoint may be named "[ear]"


def _trained_on(runner: ModelRunner, dataset: PoseDataset) -> bool:
    training = runner.spec.training
    return training is not None and training.labels_sha256 == dataset.labels_sha256()


def _run(runner: ModelRunner, dataset: PoseDataset, indices: tuple[int, ...], messages: Console) -> EvaluationResult:
    from rich.progress import Progress

    from poseloop_training.evaluate import evaluate_predictions

    order = runner.order_of(dataset.keypoint_names)
    with Progress(console=messages, transient=True) as progress:
        task = progress.add_task("Evaluating", total=len(indices))
        return evaluate_predictions(
            dataset,
            indices,
            lambda images: runner.predict(images)[:, :, order],
            color=runner.spec.color,
            on_progress=lambda done: progress.update(task, completed=done),
        )
