"""`poseloop serve` as a process of its own, which can be killed and started again where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

POSELOOP = (sys.executable, "-m", "poseloop.cli")


class RealServer:
    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self.address = "127.0.0.1:0"
        self.endpoint = "tcp://127.0.0.1:*"
        self.start()

    def start(self) -> None:
        """Start it; the second time at the addresses of the first."""
        announcement = self._folder / "server.json"
        announcement.unlink(missing_ok=True)
        addresses = ("--listen", self.address, "--publish", self.endpoint, "--metrics", "off")
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*POSELOOP, "serve", *addresses, "--announce", str(announcement), *self._flags],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while not announcement.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        said = json.loads(announcement.read_text())
        self.address, self.endpoint = said["address"], said["publish"]

    def kill(self) -> None:
        """Kill it as an out-of-memory killer would: no handler runs, no buffer is flushed."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                assert kind is not None, f"the server did not end:\n{self.log()}"


def run_poseloop(*arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run one command of the program to its end."""
    return subprocess.run([*POSELOOP, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)
