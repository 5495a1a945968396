"""`poseloop project`: from videos to labels, and from a model's weak frames to better ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from poseloop.errors import InvalidInputError
from poseloop.output import JsonOption, console, write_json
from rich.console import Console

from poseloop_training.project_views import counted, frames_table, print_check, print_merge, print_outliers, shown

ProjectArgument = Annotated[
    Path, typer.Argument(help="DeepLabCut project: its folder or config.yaml.", show_default=False)
]
CountOption = Annotated[
    int | None, typer.Option(help="How many at most. (default: numframes2pick of config.yaml)", show_default=False)
]
CropOption = Annotated[bool, typer.Option("--crop", help="Cut frames to the video's crop of config.yaml.")]
SeedOption = Annotated[int, typer.Option(help="Decides what is drawn.")]


class Method(StrEnum):
    """How frames are drawn."""

    KMEANS = "kmeans"
    UNIFORM = "uniform"


def register(app: typer.Typer) -> None:
    """Add the commands `project ...`."""
    group = typer.Typer(help="Frames and labels of a DeepLabCut project.", no_args_is_help=True)
    for name, command in (
        ("new", new), ("frames", frames), ("check", check), ("outliers", outliers), ("merge", merge), ("sleap", sleap),
    ):  # fmt: skip
        group.command(name)(command)
    app.add_typer(group, name="project")


def new(
    name: Annotated[str, typer.Argument(help="Name of the experiment.", show_default=False)],
    scorer: Annotated[str, typer.Option(help="Who labels; stands in the names of label files.", show_default=False)],
    keypoints: Annotated[
        str, typer.Option(help="Names with commas: snout,leftear,rightear,tailbase.", show_default=False)
    ],
    videos: Annotated[list[Path] | None, typer.Argument(help="Videos to label frames of.", show_default=False)] = None,
    edge: Annotated[
        list[str] | None, typer.Option(help="Two keypoints that a line joins: snout,tailbase. Repeatable.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Of the project. (default: NAME-SCORER-DATE)", show_default=False)
    ] = None,
    copy_videos: Annotated[
        bool, typer.Option("--copy-videos", help="Copy the videos into the project instead of leaving them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a project: a folder that DeepLabCut, napari-deeplabcut and poseloop know."""
    from poseloop_training.project import create_project

    edges = [_pair(text) for text in edge or []]
    names = [part.strip() for part in keypoints.split(",") if part.strip()]
    project = create_project(name, scorer, names, videos or [], folder=folder, skeleton=edges, copy_videos=copy_videos)
    if as_json:
        listed = [{"listed": video.listed, "folder": video.stem} for video in project.videos]
        write_json({"project": str(project.folder), "config": str(project.config_file), "videos": listed})
        return
    out = console()
    out.print(
        f"{project.folder}: {counted(len(names), 'keypoint')}, {counted(len(project.videos), 'video')}", soft_wrap=True
    )
    out.print(f"next: poseloop project frames {shown(project.folder)}", soft_wrap=True)


def frames(
    project: ProjectArgument,
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Draw from these, added if they are new; from all of the project if none.", show_default=False
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="One of each kind of frame (kmeans), or at random over the length (uniform).")
    ] = Method.KMEANS,
    count: CountOption = None,
    more: Annotated[bool, typer.Option("--more", help="Draw also from videos that have frames.")] = False,
    crop: CropOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw frames of videos to be labelled; frames that are there stay as they are."""
    from poseloop_training.project import extract_frames, open_project

    opened = open_project(project)
    with _progress("Looking at", as_json) as step:
        report = extract_frames(
            opened, videos or [], method=method.value, count=count, more=more, crop=crop, seed=seed,
            on_progress=lambda video, done, total: step(done, total, video),
        )  # fmt: skip
    if as_json:
        write_json(_plain(asdict(report)))
        return
    out = console()
    if report.videos:
        out.print(frames_table(report))
        folders = [video.written[0].parent for video in report.videos if video.written]
        if folders:
            config = shown(opened.config_file)
            out.print(f"next: in napari open {shown(folders[0])}, then {config}; label, and save", soft_wrap=True)
    for video in report.skipped:
        out.print(f"labeled-data/{video} has frames already and was left as it is; --more draws others beside them")


def check(
    project: ProjectArgument,
    draw: Annotated[bool, typer.Option(help="Draw each frame with its labels into labeled-data/VIDEO_labeled.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Look labels over: duplicates, left and right exchanged, labels outside; and draw them.

    The exit status is 1 if training would refuse the labels.
    """
    from poseloop_training.problems import Severity, problem_table
    from poseloop_training.project import check_project, open_project

    opened = open_project(project)
    with _progress("Checking", as_json) as step:
        report = check_project(opened, draw=draw, on_progress=step)
    if as_json:
        write_json(_plain(asdict(report)))
    else:
        out = console()
        if report.problems:
            out.print(problem_table(report.problems))
        print_check(report, out)
    if any(problem.severity is Severity.ERROR for problem in report.problems):
        raise typer.Exit(1)


def outliers(
    project: ProjectArgument,
    video: Annotated[Path, typer.Argument(help="Video to look through, every frame.", show_default=False)],
    model: Annotated[Path, typer.Option(help="Model file, .onnx, of the project's keypoints.", show_default=False)],
    second: Annotated[
        Path | None, typer.Option(help="Another model: where the two disagree is an outlier.", show_default=False)
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Ask the model about each frame shifted, darker and mirrored too.")
    ] = False,
    confidence: Annotated[
        float | None, typer.Option(help="Below it is low. (default: pcutoff of config.yaml)", show_default=False)
    ] = None,
    jump_px: Annotated[
        float | None,
        typer.Option(
            help="From frame to frame, farther is a jump. (default: half the animal's size)", show_default=False
        ),
    ] = None,
    disagreement_px: Annotated[
        float | None,
        typer.Option(help="Of two opinions, farther is too far. (default: a tenth of the size)", show_default=False),
    ] = None,
    count: CountOption = None,
    crop: CropOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find frames that a model is weak on, and write them with its labels to be refined."""
    from poseloop_training.project import extract_outliers, open_project
    from poseloop_training.project.outliers import Limits

    opened = open_project(project)
    with _progress("Looking at", as_json) as step:
        report = extract_outliers(
            opened, video, model, second_model=second, augment=augment,
            limits=Limits(confidence, jump_px, disagreement_px), count=count, crop=crop, seed=seed,
            on_progress=lambda done, total: step(done, total, video.stem),
        )  # fmt: skip
    if as_json:
        write_json(_plain(asdict(report)))
        return
    print_outliers(report, console())


def merge(
    project: ProjectArgument,
    labels: Annotated[
        Path | None,
        typer.Option(help="Refined labels from elsewhere: SLEAP .slp, a table, a project.", show_default=False),
    ] = None,
    leave_waiting: Annotated[
        bool, typer.Option("--leave-waiting", help="Go on although some outliers are not labelled.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take refined labels into the set and count the project's iteration; what changes is backed up first."""
    from poseloop_training.project import merge_labels, open_project

    report = merge_labels(open_project(project), labels, leave_waiting=leave_waiting)
    if as_json:
        write_json(_plain(asdict(report)))
        return
    print_merge(report, console())


def sleap(
    project: ProjectArgument,
    file: Annotated[Path, typer.Argument(help="The .slp to write.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Write frames and labels as a SLEAP file; `merge --labels` takes what SLEAP saved."""
    from poseloop_training.project import open_project, write_slp

    report = write_slp(open_project(project), file)
    if as_json:
        write_json(_plain(asdict(report)))
        return
    text = (
        f"{file}: {counted(report.frames, 'frame')}, {report.labelled} labelled, {report.predicted} with machine labels"
    )
    console().print(text, soft_wrap=True)


def _pair(text: str) -> tuple[str, str]:
    ends = [part.strip() for part in text.split(",")]
    if len(ends) != 2 or not all(ends):
        raise InvalidInputError(f"the edge {text!r} must be two keypoints with a comma: --edge snout,tailbase.")
    return ends[0], ends[1]


@contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Callable[..., None]]:
    from rich.progress import Progress

    stderr = Console(stderr=True, highlight=False)
    with Progress(console=stderr, transient=True, disable=quiet or not stderr.is_terminal) as progress:
        task = progress.add_task(what, total=None)

        def step(done: int, total: int, name: str = "") -> None:
            progress.update(task, completed=done, total=total, description=f"{what} {name}".strip())

        yield step


def _plain(value: Any) -> Any:
    """Return a report's values as JSON has them: paths as text."""
    match value:
        case Path():
            return str(value)
        case dict():
            return {key: _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
    return value
