"""Lab Streaming Layer: poses as streams of type MoCap, and commands as markers.

Channels are described as the MoCap convention of XDF has it (sccn/xdf, wiki, MoCap Meta-Data): label, marker, object,
type and unit of each.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from poseloop.clock import now_ns
from pydantic import Field

from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.base import (
    ActionConfig,
    Command,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    OutputUnavailableError,
    Status,
    library,
)

_AXES = (("x", "PositionX", "pixels"), ("y", "PositionY", "pixels"), ("confidence", "Confidence", "normalized"))
_BUFFER_S = 60


class LslConfig(OutputConfig):
    """Which streams there are on the lab's network."""

    poses: bool = Field(True, description="Whether there is a stream of poses for each of the server's streams.")
    markers: bool = Field(True, description="Whether there is a stream of markers, for triggers.")
    prefix: Annotated[str, Field(pattern=r"^[\w .-]{1,64}$")] = Field(
        "poseloop", description="The streams are called PREFIX-STREAM and PREFIX-markers."
    )

    @property
    def takes_poses(self) -> bool:
        """Whether it is to be given poses."""
        return self.poses


class LslAction(ActionConfig):
    """A marker."""

    marker: Annotated[str, Field(max_length=1000)] = Field(
        "", description="Its text; none: the trigger's name and edge, such as `in_corner rise`."
    )
    stamp: Literal["sent", "decided", "captured"] = Field(
        "sent", description="The moment that it marks: when it is sent, when it was decided, or the frame's capture."
    )


class LslOutput(Output):
    """Has outlets: one for markers, from the start, and one a stream for poses, from its first pose on."""

    config: ClassVar[type[Any]] = LslConfig
    action: ClassVar[type[Any]] = LslAction

    def __init__(self, name: str, config: LslConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._name = name
        self._config = config
        self._lsl: Any = None
        self._markers: Any = None
        self._poses: dict[tuple[str, tuple[str, ...], int], Any] = {}

    def open(self) -> None:
        """Announce the marker stream."""
        try:
            self._lsl = library("pylsl", "An LSL output")
        except (RuntimeError, OSError) as error:
            raise OutputUnavailableError(f"pylsl does not find its library liblsl ({error}); install liblsl.") from None
        if self._config.markers and self._markers is None:
            lsl = self._lsl
            name = f"{self._config.prefix}-markers"
            info = lsl.StreamInfo(name, "Markers", 1, lsl.IRREGULAR_RATE, lsl.cf_string, f"{name}-{self._name}")
            self._markers = lsl.StreamOutlet(info)

    def execute(self, command: Command) -> Outcome:
        """Push a marker; without anyone who receives it, it is lost."""
        if self._markers is None:
            return Outcome(command, Status.REFUSED, message="`markers` is off in this output's configuration")
        action: LslAction = command.action
        text = action.marker or f"{command.trigger} {command.edge}".strip()
        sent_ns = now_ns()
        marked_ns = {"sent": sent_ns, "decided": command.decided_ns, "captured": command.captured_ns}[action.stamp]
        received = self._markers.have_consumers()
        self._markers.push_sample([text], self._on_lsl_clock(marked_ns))
        if received:
            return Outcome(command, Status.SENT, sent_ns=sent_ns)
        return Outcome(command, Status.DROPPED_GONE, sent_ns=sent_ns, message="no inlet receives the markers")

    def send_pose(self, pose: LoopPose) -> None:
        """Push a pose, stamped with the time that its keypoints are of; what is absent is NaN."""
        key = (pose.stream, pose.names, len(pose.keypoints))
        outlet = self._poses.get(key)
        if outlet is None:
            outlet = self._poses[key] = self._pose_outlet(pose)
        sample = np.asarray(pose.keypoints, np.float32).reshape(-1)
        outlet.push_sample(sample.tolist(), self._on_lsl_clock(pose.time_ns))

    def close(self) -> None:
        """Take the streams off the network."""
        self._markers = None
        self._poses.clear()

    def _on_lsl_clock(self, time_ns: int) -> float:
        """Return a moment of the server's monotonic clock in seconds of LSL's."""
        return float(self._lsl.local_clock()) - (now_ns() - time_ns) / 1e9

    def _pose_outlet(self, pose: LoopPose) -> Any:
        lsl = self._lsl
        name = f"{self._config.prefix}-{pose.stream}"
        count = pose.keypoints.size
        info = lsl.StreamInfo(name, "MoCap", count, lsl.IRREGULAR_RATE, lsl.cf_float32, f"{name}-{self._name}")
        _describe(info.desc(), pose)
        return lsl.StreamOutlet(info, max_buffered=_BUFFER_S)


def _describe(description: Any, pose: LoopPose) -> None:
    animals = len(pose.keypoints)
    channels = description.append_child("channels")
    for animal in range(animals):
        who = "animal" if animals == 1 else f"animal{animal + 1}"
        for marker in pose.names:
            for suffix, kind, unit in _AXES:
                channel = channels.append_child("channel")
                channel.append_child_value(
                    "label", f"{marker}_{suffix}" if animals == 1 else f"{who}_{marker}_{suffix}"
                )
                channel.append_child_value("marker", marker)
                channel.append_child_value("object", who)
                channel.append_child_value("type", kind)
                channel.append_child_value("unit", unit)
    setup = description.append_child("setup")
    setup.append_child_value("frame_width", str(pose.width))
    setup.append_child_value("frame_height", str(pose.height))
    acquisition = description.append_child("acquisition")
    acquisition.append_child_value("manufacturer", "poseloop")
    # The stamps are the frames' capture times, so the way from there to here is compensated, whatever it takes.
    lag_s = max(0.0, (now_ns() - pose.captured_ns) / 1e9)
    acquisition.append_child_value("compensated_lag", f"{lag_s:.4f}")
