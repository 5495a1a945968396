"""The functions that measure something: what each takes, what it gives, and how a scene makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import hypot
from typing import Any

from poseloop_server.loop.kinematics.angles import heading, joint_angle
from poseloop_server.loop.kinematics.motion import Rate, TurnRate
from poseloop_server.loop.kinematics.windows import Displacement, Mean
from poseloop_server.loop.language.names import Measure, Value
from poseloop_server.loop.language.scene import PointKey, Scene
from poseloop_server.loop.language.types import ANGLE, LENGTH, PLAIN, TIME, TRUTH, Kind, Type, number

DEFAULT_WINDOW_S = 0.05
"""Of velocities and slopes: their noise falls with its length, and they are late by half of it."""

Run = Callable[[list[Value]], Any]


class Takes(Enum):
    """What an argument has to be."""

    POINT = auto()
    ZONE = auto()
    NUMBER = auto()
    DURATION = auto()  # written as a number with its unit, since it has to be known beforehand


@dataclass(frozen=True, slots=True)
class Function:
    """One that measures.

    Attributes:
        example: a call, for errors and the documentation.
        takes: its arguments in order.
        gives: the type of the result, from the types of the arguments.
        make: called with the scene and the arguments: the key of a point, the name of a zone, a compiled number,
            seconds.
        optional: how many of the last arguments may be left out.
    """

    example: str
    takes: tuple[Takes, ...]
    gives: Callable[[tuple[Type, ...]], Type]
    make: Callable[..., Measure]
    optional: int = 0


def _always(result: Type) -> Callable[[tuple[Type, ...]], Type]:
    return lambda _: result


def _x(scene: Scene, key: PointKey) -> Measure:
    point = scene.point(key)
    return lambda: point.x


def _y(scene: Scene, key: PointKey) -> Measure:
    point = scene.point(key)
    return lambda: point.y


def _confidence(scene: Scene, key: PointKey) -> Measure:
    point = scene.point(key)
    return lambda: point.confidence


def _distance(scene: Scene, first: PointKey, second: PointKey) -> Measure:
    a, b = scene.point(first), scene.point(second)
    return lambda: hypot(a.x - b.x, a.y - b.y)


def _angle(scene: Scene, first: PointKey, middle: PointKey, last: PointKey) -> Measure:
    a, b, c = scene.point(first), scene.point(middle), scene.point(last)
    return lambda: joint_angle(a.x, a.y, b.x, b.y, c.x, c.y)


def _heading(scene: Scene, start: PointKey, end: PointKey) -> Measure:
    a, b = scene.point(start), scene.point(end)
    return lambda: heading(b.x - a.x, b.y - a.y)


def _turn_rate(scene: Scene, start: PointKey, end: PointKey, seconds: float = DEFAULT_WINDOW_S) -> Measure:
    return TurnRate(scene.timeline, scene.window(seconds), seconds, scene.point(start), scene.point(end))


def _velocity_x(scene: Scene, key: PointKey, seconds: float = DEFAULT_WINDOW_S) -> Measure:
    velocity = scene.velocity(key, seconds)
    return lambda: velocity.x


def _velocity_y(scene: Scene, key: PointKey, seconds: float = DEFAULT_WINDOW_S) -> Measure:
    velocity = scene.velocity(key, seconds)
    return lambda: velocity.y


def _speed(scene: Scene, key: PointKey, seconds: float = DEFAULT_WINDOW_S) -> Measure:
    return scene.velocity(key, seconds).speed


def _moved(scene: Scene, key: PointKey, seconds: float) -> Measure:
    return Displacement(scene.timeline, scene.track(key, seconds), scene.point(key), seconds)


def _inside(scene: Scene, key: PointKey, zone: str) -> Measure:
    stay = scene.stay(key, zone)
    return lambda: stay.inside


def _time_in(scene: Scene, key: PointKey, zone: str) -> Measure:
    return scene.stay(key, zone).time_in


def _time_since_left(scene: Scene, key: PointKey, zone: str) -> Measure:
    return scene.stay(key, zone).time_since_left


def _distance_to(scene: Scene, key: PointKey, zone: str) -> Measure:
    point, distance = scene.point(key), scene.shape(zone).distance
    return lambda: distance(point.x, point.y) if point.x == point.x else point.x


def _mean(scene: Scene, run: Run, seconds: float) -> Measure:
    return Mean(scene.timeline, seconds, scene.bound(run))


def _rate(scene: Scene, run: Run, seconds: float = DEFAULT_WINDOW_S) -> Measure:
    return Rate(scene.timeline, scene.window(seconds), seconds, scene.bound(run))


_POINT, _ZONE, _NUMBER, _DURATION = Takes.POINT, Takes.ZONE, Takes.NUMBER, Takes.DURATION
_LENGTH, _SPEED, _TIME = _always(number(LENGTH)), _always(number(LENGTH / TIME)), _always(number(TIME))

FUNCTIONS: dict[str, Function] = {
    "x": Function("x(snout)", (_POINT,), _LENGTH, _x),
    "y": Function("y(snout)", (_POINT,), _LENGTH, _y),
    "confidence": Function("confidence(snout)", (_POINT,), _always(number(PLAIN)), _confidence),
    "distance": Function("distance(snout, tailbase)", (_POINT, _POINT), _LENGTH, _distance),
    "angle": Function("angle(leftear, snout, rightear)", (_POINT,) * 3, _always(number(ANGLE)), _angle),
    "heading": Function(
        "heading(tailbase, snout)", (_POINT, _POINT), _always(Type(Kind.NUMBER, ANGLE, is_cyclic=True)), _heading
    ),
    "turn_rate": Function(
        "turn_rate(tailbase, snout, 100 ms)",
        (_POINT, _POINT, _DURATION),
        _always(number(ANGLE / TIME)),
        _turn_rate,
        optional=1,
    ),
    "velocity_x": Function("velocity_x(snout, 100 ms)", (_POINT, _DURATION), _SPEED, _velocity_x, optional=1),
    "velocity_y": Function("velocity_y(snout, 100 ms)", (_POINT, _DURATION), _SPEED, _velocity_y, optional=1),
    "speed": Function("speed(snout, 100 ms)", (_POINT, _DURATION), _SPEED, _speed, optional=1),
    "moved": Function("moved(snout, 1 s)", (_POINT, _DURATION), _LENGTH, _moved),
    "inside": Function("inside(snout, corner)", (_POINT, _ZONE), _always(TRUTH), _inside),
    "time_in": Function("time_in(snout, corner)", (_POINT, _ZONE), _TIME, _time_in),
    "time_since_left": Function("time_since_left(snout, corner)", (_POINT, _ZONE), _TIME, _time_since_left),
    "distance_to": Function("distance_to(snout, corner)", (_POINT, _ZONE), _LENGTH, _distance_to),
    "mean": Function("mean(speed(snout), 0.5 s)", (_NUMBER, _DURATION), lambda types: types[0], _mean),
    "rate": Function(
        "rate(speed(snout), 100 ms)",
        (_NUMBER, _DURATION),
        lambda types: number(types[0].dimension / TIME),
        _rate,
        optional=1,
    ),
}
