"""A board that runs one of our sketches, compiled for this computer, on a pseudo-terminal; and one that misbehaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.server.outputs.parts import WITHIN_S

ROOT = Path(__file__).resolve().parents[3]
SKETCHES = ROOT / "docs" / "arduino"
SHIM = Path(__file__).parent / "arduino"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def compiled(sketch: str, folder: Path) -> Path:
    """Compile a sketch with our stand-in for Arduino; warnings are errors."""
    assert COMPILER is not None
    program = folder / sketch
    source = SKETCHES / sketch / f"{sketch}.ino"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{SHIM}"]
    subprocess.run(
        [COMPILER, *flags, "-x", "c++", str(source), str(SHIM / "board.cpp"), "-o", str(program)], check=True
    )
    return program


def open_terminal() -> tuple[int, str]:
    """Make a pseudo-terminal; returns the device's end and the name of the host's."""
    import tty

    device, host = os.openpty()
    tty.setraw(host)
    name = os.ttyname(host)
    os.close(host)
    return device, name


@dataclass(frozen=True)
class Edge:
    """A pin took a value, at a time of the board's clock."""

    at_us: int
    pin: int
    value: int


class Board:
    """A board at the other end of ``port``, which stays the same name when it is unplugged and plugged in again."""

    def __init__(self, program: Path, port: Path, **environment: str) -> None:
        self.port = port
        self.lines: list[str] = []
        self._program = program
        self._environment = environment
        self._changed = threading.Condition()
        self._device = -1
        self.plug_in()

    def plug_in(self) -> None:
        self._device, name = open_terminal()
        self.port.symlink_to(name)
        self.power_on()

    def power_on(self) -> None:
        self._process = subprocess.Popen(
            [str(self._program)],
            stdout=subprocess.PIPE,
            pass_fds=[self._device],
            env={**os.environ, **self._environment, "PORT": str(self._device)},
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def power_off(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def reset(self) -> None:
        """Start the sketch anew; the port stays."""
        self.power_off()
        self.power_on()

    def unplug(self) -> None:
        self.power_off()
        self.port.unlink()
        os.close(self._device)

    def edges(self, pin: int) -> list[Edge]:
        """Return what a pin was set to since the board was made, without repetitions."""
        with self._changed:
            found = [re.fullmatch(r"(\d+) pin (\d+) (\d)", line) for line in self.lines]
        all_ = [Edge(*map(int, match.groups())) for match in found if match]
        own = [edge for edge in all_ if edge.pin == pin]
        return [edge for index, edge in enumerate(own) if index == 0 or edge.value != own[index - 1].value]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until the pins fulfil it."""
        with self._changed:
            assert self._changed.wait_for(condition, WITHIN_S), self.lines[-10:]

    def wait_for_edges(self, pin: int, count: int) -> list[Edge]:
        """Wait for so many changes of a pin, the one at reset included."""
        self.wait_for(lambda: len(self.edges(pin)) >= count)
        return self.edges(pin)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()
        self._process.stdout.close()


class Script:
    """A device that answers bytes as a function says, and remembers what it read."""

    def __init__(self, port: Path, answer: Callable[[bytes], bytes] = lambda _: b"") -> None:
        self.port = port
        self.heard = b""
        self._answer = answer
        self._device, name = open_terminal()
        port.symlink_to(name)
        self._changed = threading.Condition()
        self._end, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, condition: Callable[[bytes], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.heard), WITHIN_S), self.heard

    def unplug(self) -> None:
        os.write(self._stop, b"x")
        self._thread.join()
        self.port.unlink()
        for opened in (self._device, self._end, self._stop):
            os.close(opened)

    def _run(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while True:
            ready = dict(poll.poll(1000))
            if self._end in ready:
                return
            if not ready.get(self._device, 0) & select.POLLIN:  # nobody has the port open
                threading.Event().wait(0.002)
                continue
            data = os.read(self._device, 256)
            with self._changed:
                self.heard += data
                self._changed.notify_all()
            os.write(self._device, self._answer(data))
