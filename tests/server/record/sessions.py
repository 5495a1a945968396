"""Experiments made up at random: a configuration, an animal that walks, and the log that a server would leave."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from poseloop_server.loop.chain import StreamLoop
from poseloop_server.loop.config import LoopConfig, load_loop
from poseloop_server.loop.config_json import loop_to_json
from poseloop_server.loop.decision import Arming, Decision
from poseloop_server.loop.pose import LoopPose
from poseloop_server.outputs.base import Outcome, Status
from poseloop_server.record.encode import PoseRecord, packed
from poseloop_server.record.header import Experiment, Start, code_files
from poseloop_server.record.writer import LogWriter, Pace

KEYPOINTS = ("snout", "neck", "tail")
SIZE = (320, 240)

CONDITIONS = (
    "inside(snout, corner)",
    "snout in corner and speed(snout) > 40",
    "speed(snout, 50 ms) > 60",
    "distance(snout, tail) < 45",
    "swift > 50",
)
STAGES: tuple[dict[str, Any], ...] = (
    {"one_euro": {}}, {"one_euro": {"min_cutoff_hz": 3.0}}, {"kalman": {}}, {"median": {}}
)  # fmt: skip


def random_configuration(random: Random, streams: tuple[str, ...]) -> dict[str, Any]:
    """What may be written in a configuration, with outputs that a replay must not open."""
    return {
        "experiment": f"made up {random.randrange(100)}",
        "seed": random.randrange(2**63),
        "outputs": {"laser": {"type": "osc", "port": 9}},
        "streams": {stream: _stream(random) for stream in streams},
    }


def _stream(random: Random) -> dict[str, Any]:
    return {
        "stages": random.sample(STAGES, random.randint(0, 2)),
        "zones": {"corner": {"circle": {"center": [100, 90], "radius": random.uniform(20, 90)}}},
        "quantities": {"swift": "speed(neck)"},
        "triggers": {f"trigger {number}": _trigger(random) for number in range(random.randint(1, 4))},
    }


def _trigger(random: Random) -> dict[str, Any]:
    trigger: dict[str, Any] = {
        "when": random.choice(CONDITIONS),
        "confidence": random.choice([0.0, 0.5, 0.8]),
        "hold_ms": random.choice([0, 30, 100]),
        "release_ms": random.choice([0, 20]),
        "bridge_ms": random.choice([0, 50]),
        "refractory_ms": random.choice([0, 200]),
        "probability": random.choice([1.0, 0.5]),
        "on_rise": {"laser": {"address": "/on", "arguments": [0.1, 7, "ß"]}},
        "on_fall": {"laser": {"address": "/off"}},
    }
    if random.random() < 0.4:
        trigger["at_most"] = {"per_minute": random.randint(1, 9)}
    if random.random() < 0.3:
        trigger["between"] = [{"from_s": 0.2, "to_s": random.uniform(0.5, 9)}]
    if random.random() < 0.3:
        trigger["while_true"] = {"every_ms": 50, "do": {"laser": {"address": "/again"}}}
    return trigger


class Session:
    """Runs an experiment's streams on a made-up animal, at 100 frames a second, and logs it as a server does."""

    def __init__(
        self, folder: Path, random: Random, configuration: dict[str, Any], streams: tuple[str, ...] = ("cam0",)
    ) -> None:
        file = folder / "loop.yaml"
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self.config: LoopConfig = load_loop(file)
        self._random = random
        self._draws = np.random.default_rng(random.randrange(2**32))
        start = Start.now()
        self.loops = {name: StreamLoop(self.config, name, KEYPOINTS, began_ns=start.ns) for name in streams}
        files = code_files((source for loop in self.loops.values() for source in loop.sources), folder)
        experiment = Experiment(self.config.experiment, loop_to_json(self.config), "server", files=files)
        self.writer = LogWriter(experiment, folder, pace=Pace(least_mib=1, limit=10**6), start=start)
        self._now_ns = start.ns
        self._sequence = 0
        self._place = np.array([160.0, 120.0])
        self._heading = 0.0
        self.decisions = 0
        for name in streams:
            self.writer.stream_opened(name, "arena", "0" * 64, KEYPOINTS)

    def run(self, poses: int) -> None:
        """Give each stream that many poses, with all that happens now and then."""
        for _ in range(poses):
            self._now_ns += 10_000_000 + self._random.randrange(200_000)
            self._sequence += 1 + (self._random.random() < 0.02)
            for name, loop in self.loops.items():
                self._happen(name, loop)
                self._pose(name, loop)

    def end(self) -> Path:
        """End the experiment in order."""
        for name, loop in self.loops.items():
            self._end(name, loop, "the server stopped")
            self.writer.stream_closed(name, "the server stopped")
        self.writer.close("the server stopped")
        return self.writer.path

    def _happen(self, name: str, loop: StreamLoop) -> None:
        chance = self._random.random()
        if chance < 0.005:
            trigger = self._random.choice(list(self.config.streams[name].triggers))
            loop.arm(trigger, self._random.random() < 0.6)
        elif chance < 0.01:
            self._end(name, loop, "a pause")
        elif chance < 0.013:
            self._end(name, loop, "the stream was closed")
            loop.reset()
            self.writer.stream_opened(name, "arena", "0" * 64, KEYPOINTS, continues=True)
        elif chance < 0.015:
            self._now_ns += 3_000_000_000

    def _end(self, name: str, loop: StreamLoop, reason: str) -> None:
        ending = loop.end(reason, self._now_ns)
        self._say_armed(name, ending.arming)
        self.writer.ended(name, reason, ending.decided_ns, ending.decisions)
        self._act(ending.decisions)

    def _pose(self, name: str, loop: StreamLoop) -> None:
        now_ns = self._now_ns
        keypoints = self._animal()
        doubts = ["track lost"] if self._random.random() < 0.02 else []
        decided_ns = now_ns + 4_000_000 + (200_000_000 if self._random.random() < 0.01 else 0)
        pose = LoopPose(
            name, self._sequence, now_ns, now_ns + 3_900_000, now_ns, *SIZE, KEYPOINTS, keypoints, doubts=list(doubts)
        )
        seen = packed(keypoints)
        step = loop.process(pose, decided_ns)
        self._say_armed(name, step.arming)
        self.writer.pose(
            PoseRecord(
                name, self._sequence, now_ns, now_ns + 500_000, now_ns + 600_000, now_ns + 3_900_000, decided_ns,
                decided_ns + 150_000, *SIZE, seen, packed(step.pose.keypoints), step.pose.time_ns,
                step.pose.values, doubts,
            ),
            step.decisions,
        )  # fmt: skip
        self._act(step.decisions)

    def _act(self, decisions: tuple[Decision, ...]) -> None:
        self.decisions += len(decisions)
        for command in (command for decision in decisions for command in decision.commands):
            sent_ns = command.decided_ns + round(1e6 * self._draws.gamma(2, 0.15))
            if self._random.random() < 0.03:
                self.writer.outcome(Outcome(command, self._random.choice(list(Status)[2:]), message="gone"))
            else:
                acknowledged_ns = sent_ns + round(1e6 * self._draws.gamma(3, 0.3))
                self.writer.outcome(Outcome(command, Status.ACKNOWLEDGED, sent_ns, acknowledged_ns))

    def _say_armed(self, name: str, arming: tuple[Arming, ...]) -> None:
        for one in arming:
            self.writer.armed(name, one.trigger, one.armed, self._now_ns)

    def _animal(self) -> NDArray[np.float32]:
        """A smooth walk in the frame, with keypoints that are now and then unsure or absent."""
        draws = self._draws
        self._heading += draws.normal(0, 0.15)
        ahead = np.array([np.cos(self._heading), np.sin(self._heading)])
        step = self._place + ahead * abs(np.sin(self._now_ns / 3e9)) * 1.5
        inside = (step > 20) & (step < np.array(SIZE) - 20)
        if not inside.all():
            self._heading += np.pi / 2
        self._place = np.where(inside, step, self._place)
        points = np.stack([self._place + ahead * 15, self._place, self._place - ahead * 25])
        points += draws.normal(0, 0.3, points.shape)
        confidences = np.where(draws.random(3) < 0.05, 0.3, 0.9 + 0.1 * draws.random(3))
        keypoints = np.column_stack([points, confidences])
        keypoints[draws.random(3) < 0.01] = (np.nan, np.nan, 0.0)
        return keypoints[None].astype(np.float32)
