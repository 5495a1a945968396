"""The processes around a loop that is timed: a camera whose animal steps into a zone, and the device that is told."""

from __future__ import annotations

import os
import select
import sys
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError
from poseloop.memory import keep_freed_memory

from poseloop_server.bench.film import paced
from poseloop_server.bench.steps import StepFilm
from poseloop_server.bench.talk import say, say_ready_and_wait

if TYPE_CHECKING:
    from poseloop.transport import Transport

STREAM: Final = "cam0"
_SLICE_S: Final = 0.1
# After the camera's last frame; longer than any deadline of a command.
_LAST_BYTE_S: Final = 1.0
_RECONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StepCameraJob:
    """Send frames in which the animal steps into the zone so many times.

    Attributes:
        film: what is filmed.
        trials: how often the animal steps in.
    """

    film: StepFilm
    trials: int
    frames_per_second: float
    address: str
    transport: Transport

    def run(self) -> dict[str, Any]:
        """Return when each frame was captured, and the stream's final account."""
        import poseloop

        outside, inside = self.film.render()
        steps = self.film.steps(self.trials).tolist()
        captured_ns: list[int] = []
        keep_freed_memory()  # as `poseloop stream` does
        with (
            poseloop.connect(self.address) as server,
            server.sender(STREAM, policy="live", reconnect_s=_RECONNECT_S, transport=self.transport) as sender,
        ):
            start_ns = int(say_ready_and_wait())

            def send(index: int) -> None:
                images = inside if steps[index] else outside
                captured_ns.append(now_ns())
                sender.send(images[index % len(images)], captured_ns[-1])

            paced(len(steps), self.frames_per_second, start_ns, send)
            used = sender.transport
            counters = sender.close()
        account = {**asdict(counters), "dropped": counters.dropped, "transport": used}
        return {"captured_ns": captured_ns, "account": account}


@dataclass(frozen=True, slots=True)
class DeviceJob:
    """Be what hangs at the serial port: a pseudo-terminal, each byte of which is stamped as it arrives.

    Attributes:
        byte: that counts; any other is told apart.
    """

    byte: int

    def run(self) -> dict[str, Any]:
        """Say the port's path; return when the byte arrived, each time, and how many others did."""
        if sys.platform == "win32":
            raise InvalidInputError("there are no pseudo-terminals on Windows; run this bench on Linux or macOS")
        import tty

        device, port = os.openpty()
        tty.setraw(port)
        say({"port": os.ttyname(port)})
        say_ready_and_wait()
        last_ns = [0]
        threading.Thread(target=_hear_the_end, args=(last_ns,), daemon=True).start()
        arrived_ns: list[int] = []
        others = 0
        while not last_ns[0] or now_ns() < last_ns[0]:
            # Nothing but the byte wakes it while the loop is timed: what it does first is to look at the clock.
            ready, _, _ = select.select([device], [], [], _SLICE_S)
            moment_ns = now_ns()
            if ready:
                data = os.read(device, 4096)
                arrived_ns += [moment_ns] * data.count(self.byte)
                others += len(data) - data.count(self.byte)
        return {"arrived_ns": arrived_ns, "others": others}


def _hear_the_end(last_ns: list[int]) -> None:
    """Wait for the word that no more frames come, and set how long bytes may still take."""
    sys.stdin.readline()
    last_ns[0] = now_ns() + int(_LAST_BYTE_S * 1e9)
