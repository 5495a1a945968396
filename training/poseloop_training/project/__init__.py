"""The workflow of a lab on a folder that is a DeepLabCut project throughout: one file a verb.

`new` makes the folder, `frames` draws frames to label, `check` looks the labels over, `outliers` finds frames that a
model is weak on, `merge` takes the refined labels into the set. Labels are made in napari-deeplabcut, DeepLabCut or
SLEAP, for which `sleap` writes a file.
"""

from __future__ import annotations

from poseloop_training.project.check import CheckReport, check_project
from poseloop_training.project.config import Project, ProjectVideo, open_project
from poseloop_training.project.frames import FramesReport, extract_frames
from poseloop_training.project.merge import MergeReport, merge_labels
from poseloop_training.project.new import create_project
from poseloop_training.project.outliers import OutlierReport, extract_outliers
from poseloop_training.project.sleap import write_slp

__all__ = [
    "CheckReport",
    "FramesReport",
    "MergeReport",
    "OutlierReport",
    "Project",
    "ProjectVideo",
    "check_project",
    "create_project",
    "extract_frames",
    "extract_outliers",
    "merge_labels",
    "open_project",
    "write_slp",
]
