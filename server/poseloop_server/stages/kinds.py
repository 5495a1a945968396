"""Every stage by the name that the configuration calls it."""

from __future__ import annotations

from typing import Final

from poseloop_server.stages.base import Stage
from poseloop_server.stages.deeplabcut_live import DeepLabCutLiveStage
from poseloop_server.stages.kalman import Kalman
from poseloop_server.stages.median import Median
from poseloop_server.stages.motion_energy import MotionEnergy
from poseloop_server.stages.one_euro import OneEuro
from poseloop_server.stages.own import OwnStage
from poseloop_server.stages.prediction import Prediction

STAGES: Final[dict[str, type[Stage]]] = {
    "one_euro": OneEuro,
    "kalman": Kalman,
    "median": Median,
    "predict": Prediction,
    "motion_energy": MotionEnergy,
    "python": OwnStage,
    "deeplabcut_live": DeepLabCutLiveStage,
}
