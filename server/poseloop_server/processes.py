"""Child processes that end with their parent, whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from poseloop.errors import PoseloopError

POSELOOP: Final = (sys.executable, "-m", "poseloop.cli")
START_S: Final = 120.0
STOP_S: Final = 8.0
_POLL_S: Final = 0.01


class ChildFailedError(PoseloopError):
    """A process that was started to help ended before its time, or did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server that announced itself can be reached."""

    grpc: str
    publish: str
    pid: int


class Child:
    """One child process; what it writes to stderr is kept for the error that says why it failed.

    One that ``talks`` takes lines with `tell` and gives lines of JSON to `hear`; of any other, stdout is kept too.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, *, talks: bool) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as stderr:
            # A session of its own: Ctrl-C reaches the parent alone, which then ends its children in order.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else stderr,
                stderr=stderr,
                text=True,
                encoding="utf-8",
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
            )

    def tell(self, line: str) -> None:
        """Write one line to its standard input.

        Raises:
            ChildFailedError: it is gone.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            raise self.failure() from None

    def hear(self) -> dict[str, Any]:
        """Wait for its next line, a JSON object.

        Raises:
            ChildFailedError: it ended without one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(STOP_S)
            raise self.failure()
        message: dict[str, Any] = json.loads(line)
        return message

    def check(self) -> None:
        """Raise the `ChildFailedError` that says why it ended, if it did."""
        if self.process.poll() is not None:
            raise self.failure()

    def failure(self) -> ChildFailedError:
        """Return the error that says that it failed, with its own last words."""
        words = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = words[-1].removeprefix("error: ") if words else f"exit status {self.process.poll()}"
        return ChildFailedError(f"the {self.name} process failed: {said}")

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Children:
    """Starts child processes and, as a context manager, ends them all, the last one started first.

    Within the block SIGTERM, and SIGHUP where there is one, end the program as Ctrl-C does: through `finally` blocks.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="poseloop-")))
        self._stack.enter_context(_signals_interrupt())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._children:
            self._children.pop().stop()
        self._stack.close()

    def start(self, name: str, command: Sequence[str], *, talks: bool = False) -> Child:
        """Start a process; see `Child`."""
        child = Child(name, command, self.folder / f"{name}-{len(self._children)}.log", talks=talks)
        self._children.append(child)
        return child

    def start_server(self, *flags: str) -> Child:
        """Start `poseloop serve` at free ports of this machine; `server_address` waits until it is ready."""
        ports = ("--listen", "127.0.0.1:0", "--publish", "tcp://127.0.0.1:*")
        announcement = ("--announce", str(self.folder / "server.json"))
        return self.start("server", [*POSELOOP, "serve", *ports, *announcement, *flags])

    def server_address(self, server: Child) -> ServerAddress:
        """Wait until the server is ready and return where it can be reached.

        Raises:
            ChildFailedError: it ended, or is not ready within two minutes.
        """
        file = self.folder / "server.json"
        wait_until(file.exists, server, START_S)
        found = json.loads(file.read_text(encoding="utf-8"))
        return ServerAddress(found["address"], found["publish"], found["pid"])


def wait_until(condition: Callable[[], bool], child: Child, timeout_s: float) -> None:
    """Wait for a condition that the child is to bring about.

    Raises:
        ChildFailedError: it ended, or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        child.check()
        if time.monotonic() > deadline:
            raise ChildFailedError(f"the {child.name} process is not ready after {timeout_s:g} s")
        time.sleep(_POLL_S)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _die_with_parent() -> Callable[[], None]:
    """Return what makes Linux end a child whose parent was killed (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(1, signal.SIGTERM)
        if os.getppid() != parent:  # killed before it was asked for
            os._exit(1)

    return ask
