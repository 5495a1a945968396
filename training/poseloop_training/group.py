"""The processes that train one model together: which one this is, how they find each other, and what they agree on.

Each takes its share of every batch; gradients are averaged by Lightning's DDP. All that follows from the clock, from a
signal or from the validation frames is the first one's to say, since each process sees another moment.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor

# While the first one validates the others wait.
LONGEST_WAIT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the processes this is.

    Attributes:
        rank: of all processes; 0 is the first, which alone writes, prints and exports.
        size: how many there are.
        local_rank: of those on this machine.
        local_size: how many of them are on each machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size


class Group:
    """A process's side of the group; as a context manager it joins the others and leaves them.

    Attributes:
        place: which of them this is.
        numbered: frames and their variations follow from the number of their draw, on any number of processes alike.
    """

    def __init__(self, place: Place | None = None, store: Path | None = None, *, numbered: bool = False) -> None:
        """Prepare it: ``store`` is the file through which processes of one machine meet.

        Without one, they meet at MASTER_ADDR and MASTER_PORT.
        """
        self.place = place or Place()
        self.numbered = numbered or self.place.size > 1
        self._store = store
        self._words: Any = None

    def __enter__(self) -> Self:
        place = self.place
        if place.size == 1:
            return self
        if self._store is not None:
            _stay_on_this_machine()
        store = dist.FileStore(str(self._store), place.size) if self._store is not None else None  # type: ignore[attr-defined]
        dist.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            init_method="env://" if store is None else None,
            store=store,
            rank=place.rank,
            world_size=place.size,
            timeout=LONGEST_WAIT,
        )
        # What is agreed on is a few numbers of the CPU's, which need not wait for a GPU.
        self._words = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error the others may be gone, and leaving would wait for them.
        if self._words is not None and error is None:
            dist.destroy_process_group()
        self._words = None

    @property
    def first(self) -> bool:
        """Whether this is the first process."""
        return self.place.first

    def from_first(self, value: float) -> float:
        """Return the first process's value."""
        return self._sum([value if self.first else 0.0])[0]

    def any(self, value: bool) -> bool:
        """Return whether it is true of any process."""
        return self._sum([float(value)])[0] > 0

    def mean(self, *values: float) -> list[float]:
        """Return the means over the processes."""
        return [value / self.place.size for value in self._sum(list(values))]

    def count(self, mask: Tensor) -> Tensor:
        """Return how often it is true in a process's share on average, over all of them at least once."""
        total = mask.sum()
        if self._words is None:
            return total.clamp(min=1)
        dist.all_reduce(total)
        return total.clamp(min=1) / self.place.size

    def environment(self) -> LightningEnvironment:
        """Return what tells Lightning that the processes are there already."""
        return _Started(self.place)

    def _sum(self, values: list[float]) -> list[float]:
        if self._words is None:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self._words)
        summed: list[float] = tensor.tolist()
        return summed


class _Started(LightningEnvironment):
    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self._place.local_rank

    def node_rank(self) -> int:
        return self._place.rank // self._place.local_size


def _stay_on_this_machine() -> None:
    """Let gradients go over the loopback interface, where no other machine can listen or join in."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(variable, loopback)
