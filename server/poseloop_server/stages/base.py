"""What a stage is: something that changes or reads a pose on its way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseloop_server.loop.config_errors import no_truths
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.zones import ZoneConfig


@dataclass(frozen=True, slots=True)
class StageContext:
    """What a stage may know before the first pose.

    Attributes:
        stream: that it serves.
        keypoints: names, in the order of their axis.
        folder: of the configuration, which paths in it start from.
        zones: of the stream, by name.
    """

    stream: str
    keypoints: tuple[str, ...]
    folder: str = "."
    zones: Mapping[str, ZoneConfig] = field(default_factory=dict)


class StageConfig(BaseModel):
    """What is written in the configuration for a stage: ``- one_euro: {min_cutoff_hz: 1.0}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_is_a_number(cls, values: Any) -> Any:
        return no_truths(cls, values)


Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Stage(Protocol):
    """Handles the poses of one stream, in the order of their frames, on the thread of its model.

    What it keeps depends on the poses alone: the same poses give the same results, live and in a replay.
    """

    config: ClassVar[type[Any]]
    """The pydantic model of its configuration, a `StageConfig`; the stage is made as ``Stage(config, context)``."""

    def process(self, pose: LoopPose) -> LoopPose:
        """Return the pose to go on with: the same one, changed or not, or another."""

    def reset(self) -> None:
        """Forget what came before: the stream was opened anew, or its frames' size changed."""
