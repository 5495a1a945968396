"""Watches a server under steady load: what it holds and how old its poses are, and whether either grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from poseloop.errors import InvalidInputError

from poseloop_server.bench.figures import conditions
from poseloop_server.bench.rig import WARM_UP_S, Rig, Setup, Traffic, rig
from poseloop_server.bench.verdict import MINUTE_S, Moment, Verdict, verdict_of
from poseloop_server.bench.watch import ProcessWatch, Sample

_BARE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class SoakJob:
    """What is measured.

    Attributes:
        setup: model, frames and transport.
        minutes: how long.
        streams: cameras.
        load: rate of all streams together, as a factor of what the bare inference can do.
        interval_s: between two samples.
    """

    setup: Setup
    minutes: float = 20.0
    streams: int = 4
    load: float = 0.5
    interval_s: float = 10.0

    def __post_init__(self) -> None:
        if self.minutes * MINUTE_S < 2 * self.interval_s:
            raise InvalidInputError(
                f"a soak of {self.minutes:g} minutes holds fewer than two intervals of {self.interval_s:g} s; give it "
                "more --minutes, or a shorter --interval"
            )


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What came out.

    Attributes:
        moments: in order.
        accounts: each stream's at its end.
        conditions: machine, versions, model and settings.
    """

    moments: list[Moment]
    accounts: dict[str, dict[str, Any]]
    conditions: dict[str, Any]
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", verdict_of(self.moments))

    def to_json(self) -> dict[str, Any]:
        """Return the published form."""
        return {
            "samples": [moment.to_json() for moment in self.moments],
            "sent": sum(one["sent"] for one in self.accounts.values()),
            "published": sum(one["published"] for one in self.accounts.values()),
            "dropped": sum(one["dropped"] for one in self.accounts.values()),
            "verdict": self.verdict.to_json(),
            "conditions": self.conditions,
        }


def soak(
    job: SoakJob, say: Callable[[str], None] = lambda _: None, on_moment: Callable[[Moment], None] = lambda _: None
) -> SoakResult:
    """Run the measurement; ``say`` is told what happens, ``on_moment`` what each interval showed.

    Raises:
        ChildFailedError: one of the processes failed.
        InvalidInputError: the model can't be used.
    """
    say("starting the server, and the bare inference")
    with rig(job.setup) as running:
        capacity = 1000 / float(np.median(running.bare(WARM_UP_S + _BARE_S, 0.0)))
        traffic = Traffic.lasting(job.minutes * MINUTE_S, job.streams, job.load * capacity / job.streams)
        say(f"{traffic.streams} streams of {traffic.frames_per_second:.4g} frames a second for {job.minutes:g} minutes")
        moments, accounts = _follow(running, job, traffic, on_moment)
        transport = running.transport_of(accounts)
        model = running.model
    return SoakResult(
        moments,
        accounts,
        {
            **conditions(job.setup, model, transport),
            "streams": traffic.streams,
            "frames_per_second": round(traffic.frames_per_second, 4),
            "capacity_per_second": round(capacity, 2),
            "load": job.load,
            "minutes": job.minutes,
            "interval_s": job.interval_s,
        },
    )


def _follow(
    running: Rig, job: SoakJob, traffic: Traffic, on_moment: Callable[[Moment], None]
) -> tuple[list[Moment], dict[str, dict[str, Any]]]:
    watcher, *cameras = running.start(running.watcher_job(job.interval_s, traffic), *running.camera_jobs(traffic))
    moments: list[Moment] = []
    with running.blaming_the_server():
        running.go([watcher], cameras)
        watch = ProcessWatch(running.server_pid)
        for _ in range(int(traffic.seconds / job.interval_s)):
            heard = watcher.hear()
            running.check()
            watch.take()
            moments.append(_moment(watch.samples[-1], heard))
            on_moment(moments[-1])
        accounts = running.final_accounts(cameras, watcher)
        while "received" not in watcher.hear():
            pass
    return moments, accounts


def _moment(sample: Sample, heard: dict[str, Any]) -> Moment:
    accounts = heard["accounts"].values()
    ages = [age for by_stream in heard["ages_ms"].values() for age in by_stream]
    return Moment(
        sample,
        np.array(ages, np.float64),
        dropped=sum(account["dropped"] for account in accounts),
        published=sum(account["published"] for account in accounts),
    )
