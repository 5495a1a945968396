"""OSC over UDP: commands as messages, and poses for Bonsai and for the Tracking plugin of Open Ephys."""

from __future__ import annotations

import socket
import struct
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.base import (
    Command,
    MessageAction,
    Outcome,
    Output,
    OutputConfig,
    OutputServices,
    OutputUnavailableError,
    Status,
    library,
)

Address = Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=200)]
_MOST_ARGUMENTS = 64
_MOST_DATAGRAM_BYTES = 60_000


class OscPoses(BaseModel):
    """In which form poses are sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["full", "tracking"] = Field(
        "full", description="full: every keypoint; tracking: x, y, width and height of one, for the Tracking plugin."
    )
    address: Address | None = Field(None, description="None: /pose/STREAM for full, /red for tracking.")
    keypoint: str | None = Field(None, description="With tracking: whose position it is, of the first animal.")
    fractions: bool = Field(True, description="With tracking: x and y as fractions of the frame, not pixels.")
    stream: str | None = Field(None, description="The only stream whose poses are sent; none: all.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.form == "tracking" and self.keypoint is None:
            raise ValueError("`form: tracking` needs `keypoint`, the one whose position is sent")
        if self.form == "full" and self.keypoint is not None:
            raise ValueError("`keypoint` goes with `form: tracking`; `full` sends them all")
        return self


class OscConfig(OutputConfig):
    """Who receives the messages."""

    host: Annotated[str, Field(min_length=1)] = Field("127.0.0.1", description="The receiver's computer.")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(description="Its UDP port; the Tracking plugin's is 27020.")
    poses: OscPoses | None = Field(None, description="How poses are sent; none: they are not.")

    @property
    def takes_poses(self) -> bool:
        """Whether it is to be given poses."""
        return self.poses is not None

    @property
    def keypoints(self) -> tuple[str, ...]:
        """The keypoint whose position is sent."""
        return () if self.poses is None or self.poses.keypoint is None else (self.poses.keypoint,)


class OscAction(MessageAction):
    """A message."""

    address: Address = Field(description="Such as /stimulus/on.")
    arguments: Annotated[list[bool | int | float | str], Field(max_length=_MOST_ARGUMENTS)] = Field(
        default_factory=list, description="Sent as T or F, i (h where it is large), f and s."
    )

    @model_validator(mode="after")
    def _fits_the_wire(self) -> Self:
        for one in self.arguments:
            if isinstance(one, int) and not -(2**63) <= one < 2**63:
                raise ValueError(f"{one} does not fit into 64 bits; send it as a text")
            if isinstance(one, str) and len(one) > 1000:
                raise ValueError(f"a text of {len(one)} characters is too long; send at most 1000")
        return self


class OscOutput(Output):
    """Sends datagrams; nobody confirms them, but a receiver on this computer that is gone is noticed."""

    config: ClassVar[type[Any]] = OscConfig
    action: ClassVar[type[Any]] = OscAction

    def __init__(self, name: str, config: OscConfig, services: OutputServices) -> None:  # noqa: ARG002
        self._config = config
        self._builder: Any = None
        self._heads: dict[tuple[str, int], bytes] = {}
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Look the receiver's address up."""
        self._builder = library("pythonosc.osc_message_builder", "An OSC output").OscMessageBuilder
        self.close()
        host, port = self._config.host, self._config.port
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
            self._socket.setblocking(False)
        except OSError as error:
            raise OutputUnavailableError(f"OSC can't be sent to {host}:{port}: {error.strerror}; correct it.") from None

    def execute(self, command: Command) -> Outcome:
        """Send the action's message."""
        message = self._builder(command.action.address)
        for argument in command.action.arguments:
            message.add_arg(argument)
        datagram = message.build().dgram
        sent_ns = now_ns()
        self._send(datagram)
        return Outcome(command, Status.SENT, sent_ns=sent_ns)

    def send_pose(self, pose: LoopPose) -> None:
        """Send a pose in the form that is asked for."""
        form = self._config.poses
        if form is None or form.stream not in {None, pose.stream}:
            return
        if form.form == "full":
            self._send(self._full(pose, form))
        elif (datagram := self._tracking(pose, form)) is not None:
            self._send(datagram)

    def close(self) -> None:
        """Close the socket."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _full(self, pose: LoopPose, form: OscPoses) -> bytes:
        """Sequence (h), capture time in seconds (d), and x, y, confidence (f) of each keypoint of each animal."""
        numbers = np.asarray(pose.keypoints, ">f4")
        head = self._head(form.address or f"/pose/{pose.stream}", numbers.size)
        return head + struct.pack(">qd", pose.sequence, pose.captured_ns / 1e9) + numbers.tobytes()

    def _head(self, address: str, numbers: int) -> bytes:
        """Return what stands before the arguments of a pose; it stays the same, and takes long to write."""
        head = self._heads.get((address, numbers))
        if head is None:
            message = self._builder(address)
            for kind in ("h", "d", *("f" * numbers)):
                message.add_arg(0, kind)
            head = message.build().dgram[: -(8 + 8 + 4 * numbers)]
            self._heads[address, numbers] = head
        return head

    def _tracking(self, pose: LoopPose, form: OscPoses) -> bytes | None:
        """Four floats; None where the keypoint is absent, for which the plugin has no word."""
        if form.keypoint not in pose.names:
            raise InvalidInputError(f"there is no keypoint {form.keypoint!r}; there are {', '.join(pose.names)}")
        x, y, _ = pose[form.keypoint]
        if not np.isfinite((x, y)).all():
            return None
        if form.fractions:
            x, y = (x + 0.5) / pose.width, (y + 0.5) / pose.height
        message = self._builder(form.address or "/red")
        for number in (x, y, float(pose.width), float(pose.height)):
            message.add_arg(number, "f")
        datagram: bytes = message.build().dgram
        return datagram

    def _send(self, datagram: bytes) -> None:
        if len(datagram) > _MOST_DATAGRAM_BYTES:
            raise InvalidInputError(f"a message of {len(datagram)} bytes is too large for OSC over UDP")
        if self._socket is None:
            raise OutputUnavailableError("The OSC output is not open.")
        try:
            self._socket.send(datagram)
            # On this computer the answer that nobody listens is there already.
            refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BlockingIOError:
            raise OutputUnavailableError("The network takes no more datagrams at the moment.") from None
        except OSError as error:
            raise OutputUnavailableError(self._absent(error.strerror or str(error))) from None
        if refused:
            raise OutputUnavailableError(self._absent("nothing listens there"))

    def _absent(self, why: str) -> str:
        return f"OSC did not reach {self._config.host}:{self._config.port}: {why}; start the receiver."
