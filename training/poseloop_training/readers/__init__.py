"""One file a label format; `read_labels` picks it by what the path is."""

from __future__ import annotations

from pathlib import Path

from poseloop.errors import InvalidInputError

from poseloop_training.readers.base import Labels

READABLE = "a DeepLabCut project folder, a CollectedData_*.csv or .h5, a SLEAP .slp or a COCO keypoints .json"


def read_labels(path: Path) -> Labels:
    """Read the labels of a project or file.

    Raises:
        InvalidInputError: it does not exist, is of no known format, or is damaged.
    """
    from poseloop_training.readers import coco, deeplabcut, sleap

    if not path.exists():
        raise InvalidInputError(f"{path} does not exist; give {READABLE}.")
    if path.is_dir():
        if (path / "config.yaml").is_file():
            return deeplabcut.read_project(path)
        raise InvalidInputError(f"{path} has no config.yaml, so it is no DeepLabCut project; give {READABLE}.")
    if path.name == "config.yaml":
        return deeplabcut.read_project(path.absolute().parent)
    reader = {
        ".csv": deeplabcut.read_single_table,
        ".h5": deeplabcut.read_single_table,
        ".slp": sleap.read_slp,
        ".json": coco.read_coco,
    }.get(path.suffix.lower())
    if reader is None:
        raise InvalidInputError(f"{path} is of no label format that can be read; give {READABLE}.")
    return reader(path)
