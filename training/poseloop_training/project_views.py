"""What `poseloop project` prints for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from poseloop_training.project import CheckReport, FramesReport, MergeReport, OutlierReport


def frames_table(report: FramesReport) -> Table:
    """Return what was drawn, video by video."""
    table = _table(
        "Frames to label", ("labeled-data/", "left"), ("new", "right"), ("there before", "right"), ("of", "right")
    )
    for video in report.videos:
        table.add_row(video.video, str(len(video.written)), str(video.there_before), str(video.frames))
    return table


def print_check(report: CheckReport, out: Console) -> None:
    """Print what was looked over, and where the pictures are."""
    found = counted(len(report.problems), "remark") if report.problems else "nothing to remark"
    out.print(f"{counted(report.frames, 'labelled frame')}, {counted(report.labels, 'label')}: {found}")
    folders = list(dict.fromkeys(file.parent for file in report.drawn))
    if folders:
        earlier = f" ({report.replaced} of an earlier check replaced)" if report.replaced else ""
        places = ", ".join(shown(folder) for folder in folders)
        out.print(f"{counted(len(report.drawn), 'picture')} in {places}{earlier}", soft_wrap=True)


def print_outliers(report: OutlierReport, out: Console) -> None:
    """Print what was flagged by which measure, and each frame that was taken."""
    table = _table(
        f"Outliers among {report.frames} frames of {report.video}",
        ("", "left"),
        ("beyond", "right"),
        ("frames", "right"),
    )
    for reason in report.reasons:
        side = "< " if reason.name == "low confidence" else "> "
        table.add_row(reason.name, f"{side}{reason.limit:.3g} {reason.unit}".strip(), str(reason.flagged))
    out.print(table)
    if not report.taken:
        out.print("none was taken: there is no outlier that the project does not have yet")
        return
    taken = _table(
        f"Taken: {len(report.taken)} of {report.flagged}",
        ("frame", "right"),
        ("because of", "left"),
        ("least certain of", "left"),
        ("confidence", "right"),
    )
    for outlier in report.taken:
        taken.add_row(
            str(outlier.index), ", ".join(outlier.reasons), outlier.least_confident, f"{outlier.confidence:.2f}"
        )
    out.print(taken)
    if len(report.taken) == report.flagged:
        out.print("these are all; a higher --confidence, --augment or --second find more")
    out.print(
        f"next: in napari open {shown(report.machine_labels.parent)}, correct {report.machine_labels.stem}, and save",
        soft_wrap=True,
    )


def print_merge(report: MergeReport, out: Console) -> None:
    """Print what came into which folder."""
    table = _table(
        "Labels", ("labeled-data/", "left"), ("labelled", "right"), ("added", "right"), ("changed", "right"),
        ("outliers refined", "right"), ("left waiting", "right"),
    )  # fmt: skip
    for folder in report.folders:
        counts = (folder.labelled, *map(len, (folder.added, folder.changed, folder.refined, folder.waiting)))
        table.add_row(folder.video, *map(str, counts))
    out.print(table)
    if report.iteration != report.iteration_before:
        out.print(f"iteration {report.iteration_before} is over, {report.iteration} begins")
    if report.backup is not None:
        out.print(f"as it was before: {shown(report.backup)}", soft_wrap=True)


def _table(title: str, *columns: tuple[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for name, justify in columns:
        table.add_column(name, justify=justify)
    return table


def counted(number: int, what: str) -> str:
    """Return "1 frame", "2 frames"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shown(path: Path) -> str:
    """Return a path as one can paste it: relative to here where that is shorter, quoted where it has spaces."""
    here = Path.cwd()
    text = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return f'"{text}"' if " " in text else text
