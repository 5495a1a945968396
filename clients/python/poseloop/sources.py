"""Where frames come from: the synthetic arena, a video file, a camera; each is an iterable of `Frame`."""

from __future__ import annotations

import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from poseloop.clock import now_ns
from poseloop.errors import InvalidInputError, MissingExtraError
from poseloop.pacing import Schedule
from poseloop.types import Frame, PixelFormat

if TYPE_CHECKING:
    from poseloop.arena import ArenaSettings

Speed = Literal["realtime", "max"]

SYNTHETIC: Final = "synthetic:"
CAMERA: Final = "camera:"

_SYNTHETIC = re.compile(r"(?:(?P<width>\d+)x(?P<height>\d+))?(?:@(?P<rate>\d+(?:\.\d+)?))?(?:\?(?P<options>.*))?")
_CAMERA = re.compile(r"(?P<index>\d+)(?:\?(?P<options>.*))?")
_UNKNOWN_RATE = 30.0


class Source(Protocol):
    """An iterable of frames that has to be closed: use it as a context manager.

    Attributes:
        description: what it is, for people.
        frames_per_second: at which its frames come; NaN where that is not known or as fast as they can.
    """

    description: str
    frames_per_second: float

    def __iter__(self) -> Iterator[Frame]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(text: str, *, fps: float | None = None, speed: Speed = "realtime", loop: bool = False) -> Source:
    """Open a source of frames.

    Args:
        text: ``synthetic:``, or ``synthetic:640x480@60?seed=3&color=rgb`` with any of `poseloop.arena.ArenaSettings`;
            ``camera:0`` or ``0``, or ``camera:0?width=1280&height=720``; or a video file.
        fps: frames a second; the source's own, unless given.
        speed: ``"realtime"``, or ``"max"``: synthetic and video frames as fast as they are taken.
        loop: begin a video again at its end.

    Raises:
        InvalidInputError: there is no such source, or it can't be opened.
        MissingExtraError: a video or camera was asked for, and the camera extra is not installed.
    """
    if fps is not None and not (0 < fps < math.inf):
        raise InvalidInputError(f"the frame rate must be above 0 frames a second, not {fps:g}")
    if text.startswith(SYNTHETIC):
        return SyntheticSource(_arena_settings(text, fps), paced=speed == "realtime")
    camera = _CAMERA.fullmatch(text.removeprefix(CAMERA))
    if camera is not None and not Path(text).exists():
        options = _options(text, camera["options"], {"width": int, "height": int})
        return CameraSource(int(camera["index"]), fps, **options)
    if not Path(text).is_file():
        raise InvalidInputError(
            f"{text!r} is no source of frames: there is no such video file; a camera is camera:0, and the synthetic "
            f"one is {SYNTHETIC}"
        )
    return VideoSource(Path(text), fps, paced=speed == "realtime", loop=loop)


class _Closing:
    """What a source that holds nothing does when it is closed."""

    def close(self) -> None:
        """Give back what the source holds."""

    def __enter__(self) -> Self:
        """Return the source."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()


class SyntheticSource(_Closing):
    """The arena as a camera. Frame ``k`` is the arena's frame ``k``, so the truth is known from a pose's sequence."""

    def __init__(self, settings: ArenaSettings, *, paced: bool) -> None:
        self.settings = settings
        self.frames_per_second = settings.frames_per_second if paced else math.nan
        self.description = f"synthetic arena {settings.width}x{settings.height}"
        self._paced = paced

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames without end."""
        from poseloop.arena import Arena

        arena = Arena(self.settings)
        pixel_format = PixelFormat.GRAY8 if self.settings.color == "gray" else PixelFormat.RGB8
        schedule = Schedule(self.settings.frames_per_second) if self._paced else None
        for index in count():
            image = arena.frame(index)  # drawn before its moment, as a sensor exposes before it reads out
            if schedule is not None:
                schedule.wait()
            yield Frame(image, now_ns(), pixel_format)


class VideoSource(_Closing):
    """A video file, its frames in order, as OpenCV decodes them.

    Attributes:
        path: of the file.
        own_frames_per_second: at which it was recorded, or ``fps``.
        frames: as the file's header has it, which may be off by a few; 0 where it says nothing.
        size: width and height of the frames, in pixels.
    """

    def __init__(self, path: Path, fps: float | None, *, paced: bool, loop: bool) -> None:
        self.path = path
        self._loop = loop
        self._capture = _opencv().VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InvalidInputError(f"{path} can't be read as a video; convert it, for example to H.264 in .mp4")
        own_rate = float(self._capture.get(_opencv().CAP_PROP_FPS))
        rate = fps or (own_rate if 0 < own_rate < math.inf else _UNKNOWN_RATE)
        self.own_frames_per_second = rate
        self.frames = max(round(self._capture.get(_opencv().CAP_PROP_FRAME_COUNT)), 0)
        sides = (_opencv().CAP_PROP_FRAME_WIDTH, _opencv().CAP_PROP_FRAME_HEIGHT)
        self.size = (round(self._capture.get(sides[0])), round(self._capture.get(sides[1])))
        self.frames_per_second = rate if paced else math.nan
        self.description = f"video {path.name}"
        self._schedule = Schedule(rate) if paced else None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; with ``loop``, again and again.

        Raises:
            InvalidInputError: not one frame can be decoded, at the beginning or in a later round.
        """
        yielded = 0  # in this round
        rounds = 0
        while True:
            read, image = self._capture.read()
            if not read:
                if not yielded and not rounds:
                    raise InvalidInputError(f"{self.path} holds no frame that can be decoded")
                if not yielded:
                    raise InvalidInputError(f"{self.path} gives no more frames; was it moved or deleted?")
                if not self._loop:
                    return
                yielded, rounds = 0, rounds + 1
                self._capture.release()
                self._capture = _opencv().VideoCapture(str(self.path))
                continue
            if self._schedule is not None:
                self._schedule.wait()
            yielded += 1
            yield _frame(image, now_ns())

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class CameraSource(_Closing):
    """A camera, as OpenCV numbers them."""

    def __init__(self, index: int, fps: float | None, *, width: int | None = None, height: int | None = None) -> None:
        cv2 = _opencv()
        self._index = index
        # Media Foundation, the default on Windows, takes many seconds to open a camera.
        self._capture = cv2.VideoCapture(index, cv2.CAP_DSHOW if sys.platform == "win32" else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise InvalidInputError(
                f"camera {index} can't be opened; is it plugged in, not used by another program, and may this program "
                "use cameras?"
            )
        # One buffer: a frame that waits in the driver is a frame that is late.
        wishes = {cv2.CAP_PROP_BUFFERSIZE: 1, cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height}
        for setting, wish in {**wishes, cv2.CAP_PROP_FPS: fps}.items():
            if wish is not None:
                self._capture.set(setting, wish)
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.frames_per_second = rate if rate > 0 else math.nan
        self.description = f"camera {index}"

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the camera is closed.

        Raises:
            InvalidInputError: the camera gives no more frames.
        """
        while True:
            grabbed = self._capture.grab()
            captured_ns = now_ns()  # before the frame is converted, which takes milliseconds
            if not grabbed:
                raise InvalidInputError(f"camera {self._index} gives no more frames; was it unplugged?")
            read, image = self._capture.retrieve()
            if read:
                yield _frame(image, captured_ns)

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def _frame(image: NDArray[np.uint8], captured_ns: int) -> Frame:
    return Frame(image, captured_ns, PixelFormat.GRAY8 if image.ndim == 2 else PixelFormat.BGR8)


def _opencv() -> Any:
    # What can't be opened is said by an error of ours; OpenCV's own warnings name its source files.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        import cv2
    except ModuleNotFoundError:
        raise MissingExtraError("Reading videos and cameras", "camera") from None
    return cv2


def _arena_settings(text: str, fps: float | None) -> ArenaSettings:
    from poseloop.arena import ArenaSettings

    match = _SYNTHETIC.fullmatch(text.removeprefix(SYNTHETIC))
    if match is None:
        raise InvalidInputError(f"{text!r} can't be understood; write for example {SYNTHETIC}640x480@60?seed=3")
    defaults = ArenaSettings()
    kinds: dict[str, Callable[[str], Any]] = {
        field.name: type(getattr(defaults, field.name)) for field in fields(ArenaSettings)
    }
    settings = replace(defaults, **_options(text, match["options"], kinds))
    if match["width"] is not None:
        settings = replace(settings, width=int(match["width"]), height=int(match["height"]))
    rate = fps or (float(match["rate"]) if match["rate"] else None)
    return settings if rate is None else replace(settings, frames_per_second=rate)


def _options(text: str, query: str | None, kinds: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Return the options behind a source's question mark, each of the kind that is given for its name."""
    options = {}
    for name, value in parse_qsl(query or "", keep_blank_values=True):
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(kinds)}"
            raise InvalidInputError(f"{text!r} has no option {name!r}; {hint}")
        try:
            options[name] = kinds[name](value)
        except ValueError:
            raise InvalidInputError(f"{text!r}: {name} must be a number, not {value!r}") from None
    return options
