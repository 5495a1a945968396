"""Kinds of stages and outputs for the tests of the chain, which opens none."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.registered import Kinds
from poseloop_server.outputs.base import ActionConfig, OutputConfig
from poseloop_server.stages.base import Milliseconds, StageConfig, StageContext
from pydantic import Field


class ShiftConfig(StageConfig):
    right_px: float = 0.0
    raise_at: int | None = None
    return_at: Any = None
    hold_ms: Milliseconds = 0.0


class Shift:
    """Moves keypoints to the right, in place, and fails where it is asked to."""

    config: ClassVar[type[ShiftConfig]] = ShiftConfig

    def __init__(self, config: ShiftConfig, context: StageContext) -> None:
        self._config = config
        self.resets = 0

    def process(self, pose: LoopPose) -> LoopPose:
        pose.keypoints[:, :, 0] += self._config.right_px
        pose.values["shifted"] = self._config.right_px
        if pose.sequence == self._config.raise_at:
            raise ZeroDivisionError("division by zero")
        return self._config.return_at if self._config.return_at is not None else pose

    def reset(self) -> None:
        self.resets += 1


class Eye(Shift):
    needs_image = True


class LaserConfig(OutputConfig):
    port: str


class Pulse(ActionConfig):
    on_ms: Annotated[float, Field(gt=0)] = 10.0


class LaserAction(ActionConfig):
    pulse: Pulse | None = None
    on: bool | None = None


class Laser:
    config: ClassVar[type[LaserConfig]] = LaserConfig
    action: ClassVar[type[LaserAction]] = LaserAction


class NoteConfig(OutputConfig):
    host: str = "127.0.0.1"


class NoteAction(ActionConfig):
    text: str


class Note:
    config: ClassVar[type[NoteConfig]] = NoteConfig
    action: ClassVar[type[NoteAction]] = NoteAction


def kinds() -> Kinds:
    return Kinds({"shift": Shift, "eye": Eye}, {"serial": Laser, "open_ephys": Note})
