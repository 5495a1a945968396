"""A rehearsal as a video: the zones, the keypoints after the stages, and a flash where a trigger decided something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import MissingExtraError

from poseloop_server.loop.decision import Edge
from poseloop_server.loop.pose import LoopPose
from poseloop_server.loop.shapes import Circle, Polygon
from poseloop_server.loop.zones import ZoneConfig
from poseloop_server.overlay import Overlay
from poseloop_server.rehearse.recording import RecordedPose
from poseloop_server.rehearse.run import Event, Rehearsal
from poseloop_server.rehearse.view import time_text
from poseloop_server.track import AnnotatedVideo

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

FLASH_NS: Final = 250_000_000
FIRED: Final[Color] = (80, 220, 60)  # colours are BGR
HELD_BACK: Final[Color] = (0, 190, 255)
ZONE: Final[Color] = (255, 200, 90)


@dataclass(frozen=True, slots=True)
class _Flash:
    text: str
    color: Color
    until_ns: int


class RehearsalClip:
    """Draws what a rehearsal decides, frame by frame.

    Args:
        video: that is written; closed by whoever made it.
        rehearsal: whose zones and keypoints are drawn.
        skeleton: edges, by keypoint name.
    """

    def __init__(self, video: AnnotatedVideo, rehearsal: Rehearsal, skeleton: Sequence[tuple[str, str]]) -> None:
        stream = rehearsal.config.stream(rehearsal.stream)
        self._zones: Mapping[str, ZoneConfig] = {} if stream is None else stream.zones
        self._video = video
        self._overlay = Overlay(rehearsal.keypoints, skeleton)
        self._flashes: list[_Flash] = []

    def add(self, recorded: RecordedPose, pose: LoopPose, events: Sequence[Event]) -> None:
        """Add a frame, with what was decided at it."""
        if recorded.picture is None:
            return
        now_ns = recorded.captured_ns
        self._flashes = [flash for flash in self._flashes if now_ns < flash.until_ns]
        for event in events:
            if event.decision.edge is Edge.RISE:
                color = FIRED if event.decision.fired else HELD_BACK
                text = f"{event.decision.trigger}: {event.outcome}"
                self._flashes.append(_Flash(text, color, now_ns + FLASH_NS))
        caption = f"{time_text(now_ns)}  frame {recorded.frame}"
        keypoints, flashes = pose.keypoints, tuple(self._flashes)

        def draw(image: Image) -> None:
            _draw_zones(image, self._zones)
            self._overlay.draw(image, keypoints, caption)
            _draw_flashes(image, flashes)

        self._video.add(recorded.picture, draw)


def _draw_zones(image: Image, zones: Mapping[str, ZoneConfig]) -> None:
    cv2 = _opencv()
    height, width = image.shape[:2]
    thickness = max(round(min(width, height) / 240), 1)
    for name, zone in zones.items():
        shape = zone.shape(width, height)
        place = (round(shape.center[0]), round(shape.center[1]))
        if isinstance(shape, Circle):
            cv2.circle(image, place, round(shape.radius), ZONE, thickness, cv2.LINE_AA)
        elif isinstance(shape, Polygon):
            corners = np.round(np.array(shape.corners)).astype(np.int32)
            cv2.polylines(image, [corners], True, ZONE, thickness, cv2.LINE_AA)
        _write(image, name, place, ZONE)


def _draw_flashes(image: Image, flashes: Sequence[_Flash]) -> None:
    if not flashes:
        return
    cv2 = _opencv()
    height, width = image.shape[:2]
    border = max(min(width, height) // 40, 4)
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), flashes[-1].color, border)
    for line, flash in enumerate(reversed(flashes)):
        _write(image, flash.text, (border + 6, height - border - 8 - 20 * line), flash.color)


def _write(image: Image, text: str, place: tuple[int, int], color: Color) -> None:
    cv2 = _opencv()
    size = max(min(image.shape[:2]) / 480, 0.7) * 0.6
    for shade, weight in (((0, 0, 0), 3), (color, 1)):
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, shade, weight, cv2.LINE_AA)


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("drawing", "camera") from None
    return cv2
