"""How a training comes to several processes: torchrun started them, or the first on each machine starts the others.

Not Lightning's launcher, which runs the script that Python was started with again: there is none behind `poseloop` on
Windows, in a notebook or in a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from poseloop.errors import InvalidInputError, PoseloopError
from rich.console import Console

from poseloop_training.group import Group, Place

# Tells a companion that it is one, and the file through which it meets the others; empty with several machines.
STORE = "POSELOOP_TRAINING_STORE"
POLL_S = 0.2
# So long the first process may take to say itself why training can't go on.
GRACE_S = 5.0
END_S = 60.0


class CompanionFailedError(PoseloopError):
    """Another process of the training ended before its time."""


def find_place(devices: int | None, nodes: int | None) -> Place:
    """Return which of the training processes this is.

    Args:
        devices: processes on each machine, as they were asked for.
        nodes: machines.

    Raises:
        InvalidInputError: there are not so many devices, torchrun started another number of processes, or it is not
            said where the first machine is.
    """
    if STORE in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        place = Place(*(int(os.environ[name]) for name in names))
        for option, asked, there in (("devices", devices, place.local_size), ("nodes", nodes, place.nodes)):
            if asked not in (None, there):
                raise InvalidInputError(f"--{option} {asked}: torchrun started {there}; leave the option out.")
        return place
    devices, nodes = devices or 1, nodes or 1
    _refuse_absent(devices)
    if nodes == 1:
        return Place(size=devices, local_size=devices)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if not os.environ.get(name)]
    if missing:
        raise InvalidInputError(
            f"--nodes {nodes}: the environment variable {missing[0]} is not set; set MASTER_ADDR and MASTER_PORT to a "
            "free port of the first machine on all of them, and NODE_RANK to 0 on the first, 1 on the next ..."
        )
    node = os.environ["NODE_RANK"]
    if not node.isdecimal() or int(node) >= nodes:
        raise InvalidInputError(f"NODE_RANK is {node!r}, and machines are numbered 0 to {nodes - 1}; set it anew.")
    return Place(int(node) * devices, nodes * devices, 0, devices)


@contextmanager
def companions(place: Place, arguments: Sequence[str], console: Console, *, numbered: bool) -> Iterator[Group]:
    """Give the group to train in; its other processes on this machine are started and ended here, unless torchrun does.

    Args:
        place: of this process.
        arguments: of the program, which the others get too.
        console: to say on why it can't go on.
        numbered: see `Group`.

    Raises:
        CompanionFailedError: one of them ended before its time.
    """
    started_here = STORE not in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ
    if place.local_size == 1 or not started_here:
        store = os.environ.get(STORE)
        if store is not None:
            threading.Thread(target=_end_with_parent, daemon=True).start()
        yield Group(place, Path(store) if store else None, numbered=numbered)
        return
    # On Windows a file that is open can't be deleted, and ending processes may still hold theirs.
    with tempfile.TemporaryDirectory(prefix="poseloop-", ignore_cleanup_errors=True) as folder:
        store = str(Path(folder) / "store") if place.nodes == 1 else ""
        others = _Others(Path(folder), console)
        try:
            for local_rank in range(1, place.local_size):
                there = Place(place.rank + local_rank, place.size, local_rank, place.local_size)
                others.start(there, arguments, store)
            others.watch()
            yield Group(place, Path(store) if store else None, numbered=numbered)
        except RuntimeError as error:
            others.blame(error)
            raise
        else:
            others.wait()
        finally:
            others.end()


class _Others:
    """The processes that were started here; what they write is kept for the error that says why one failed."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
        self._console = console
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._over = threading.Event()

    def start(self, place: Place, arguments: Sequence[str], store: str) -> None:
        values = (STORE, store), ("RANK", place.rank), ("WORLD_SIZE", place.size), ("LOCAL_RANK", place.local_rank)
        more = {name: str(value) for name, value in (*values, ("LOCAL_WORLD_SIZE", place.local_size))}
        with self._log(place.rank).open("wb") as log:
            # In a session or group of its own: Ctrl-C reaches the first process alone, which ends all in order.
            self._processes[place.rank] = subprocess.Popen(
                [sys.executable, "-m", "poseloop.cli", *arguments],
                env={**os.environ, **more},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def watch(self) -> None:
        """End this process too when one failed: a GPU's operations would wait for it for hours."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            failed = self._failed()
            if failed is not None and not self._over.wait(GRACE_S):
                self.end()
                self._console.show_cursor()
                self._console.print(f"[bold red]error:[/] {failed}", soft_wrap=True)
                os._exit(1)

    def blame(self, error: RuntimeError) -> None:
        """Raise what ended another process, if that is why this one can't go on."""
        self._over.set()
        deadline = time.monotonic() + GRACE_S
        while "onnection" in str(error) and time.monotonic() < deadline:
            failed = self._failed()
            if failed is not None:
                raise failed from None
            time.sleep(POLL_S)

    def wait(self) -> None:
        """Let them end by themselves, as they do when training is over."""
        self._over.set()
        deadline = time.monotonic() + END_S
        for process in self._processes.values():
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                return

    def end(self) -> None:
        """End those that are left."""
        self._over.set()
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _failed(self) -> CompanionFailedError | None:
        for rank, process in self._processes.items():
            if process.poll():
                words = self._log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                said = words[-1].removeprefix("error: ") if words else f"exit status {process.returncode}"
                return CompanionFailedError(f"process {rank} of the training failed: {said}")
        return None

    def _log(self, rank: int) -> Path:
        return self._folder / f"{rank}.log"


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end."""
    # Not sys.stdin, whose lock a data worker that is forked meanwhile would find taken for ever.
    while os.read(0, 1):
        pass
    os._exit(1)


def _refuse_absent(devices: int) -> None:
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there and devices > there:
        raise InvalidInputError(f"--devices {devices}: this machine has {there} GPU{'s' * (there > 1)}; give no more.")
    if devices > 1 and not there and torch.backends.mps.is_available():
        raise InvalidInputError(f"--devices {devices}: Apple's GPU is one and can't be shared; leave the option out.")
