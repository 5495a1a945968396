"""All kinds of outputs, by the ``type`` that the configuration names them with."""

from __future__ import annotations

import difflib

from poseloop.errors import InvalidInputError

from poseloop_server.outputs.base import Output
from poseloop_server.outputs.gpio import GpioOutput
from poseloop_server.outputs.lsl import LslOutput
from poseloop_server.outputs.open_ephys import OpenEphysOutput
from poseloop_server.outputs.osc import OscOutput
from poseloop_server.outputs.serial_port import SerialOutput
from poseloop_server.outputs.webhook import HttpOutput
from poseloop_server.outputs.zmq_events import ZmqEventsOutput

OUTPUTS: dict[str, type[Output]] = {
    "serial": SerialOutput,
    "open_ephys": OpenEphysOutput,
    "lsl": LslOutput,
    "osc": OscOutput,
    "zeromq": ZmqEventsOutput,
    "http": HttpOutput,
    "gpio": GpioOutput,
}


def output_of(kind: str) -> type[Output]:
    """Return the kind of output that a configuration's ``type`` names.

    Raises:
        InvalidInputError: there is none.
    """
    if kind in OUTPUTS:
        return OUTPUTS[kind]
    near = difflib.get_close_matches(str(kind), OUTPUTS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(OUTPUTS)}"
    raise InvalidInputError(f"there is no output of type {kind!r}; {hint}")
