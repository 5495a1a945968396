"""Work for a model that someone asked for and waits for, beside the frames of streams."""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

from poseloop_server.model import PoseModel


class Job(Protocol):
    """A piece of work of one or more turns."""

    def run_turn(self, model: PoseModel) -> bool:
        """Use the model for one inference, on its thread; return whether the job is done. What fails is the job's."""

    def abandon(self) -> None:
        """Learn that there will be no more turns; any thread may tell."""


class WaitingJobs:
    """The jobs that wait for one model.

    They stand in the model's queue together, exactly once while there are any, and take turns among themselves: so
    however many there are, they hold the streams up by no more than one stream would.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()  # the first one stays here while it has its turn
        self._closed = False

    def put(self, job: Job) -> bool:
        """Add a job; return whether the jobs have to be put into the model's queue."""
        with self._lock:
            if not self._closed:
                self._jobs.append(job)
                return len(self._jobs) == 1
        job.abandon()
        return False

    def run_turn(self, model: PoseModel) -> bool:
        """Give the next job a turn, on the model's thread; return whether jobs wait for another one."""
        job = self._jobs[0]
        done = job.run_turn(model)
        with self._lock:
            self._jobs.popleft()
            if not done:
                self._jobs.append(job)
            return bool(self._jobs)

    def close(self) -> None:
        """Abandon what waits, and what comes later; once the model's thread has ended."""
        with self._lock:
            self._closed = True
        while self._jobs:
            self._jobs.popleft().abandon()
