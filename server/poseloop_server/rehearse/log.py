"""The poses of one stream from the log of an experiment, with the times that they really had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from poseloop.errors import InvalidInputError

from poseloop_server.loop.config_errors import nearest
from poseloop_server.loop.decision import Arming
from poseloop_server.record.entries import Armed, Ended, Lost, PoseEntry, StreamOpened
from poseloop_server.record.reader import DamagedLogError, Line, Log
from poseloop_server.rehearse.recording import Item, Pause, RecordedPose, Reopened


class LogRecording:
    """One stream of a log, from the beginning of its experiment.

    Arming, pauses and new openings come again where they came then, so the same rules decide as they did.

    Args:
        path: of the log.
        stream: None: the only one that there is.
        latency_ns: from capture to decision; None: what it was.

    Attributes:
        stream: its name.

    Raises:
        InvalidInputError: it is no log, holds no such stream, or the stream's keypoints change in it.
    """

    has_images = True

    def __init__(self, path: Path, stream: str | None, latency_ns: int | None) -> None:
        self._log = Log(path)
        self._latency_ns = latency_ns
        self._began_ns = self._log.header.started_ns
        streams: dict[str, tuple[str, ...]] = {}
        counts: dict[str, int] = {}
        lost: dict[str, int] = {}
        for entry in self._log.entries():
            if isinstance(entry, PoseEntry):
                counts[entry.stream] = counts.get(entry.stream, 0) + 1
            elif isinstance(entry, StreamOpened):
                self._open(streams, entry)
            elif isinstance(entry, Lost):
                for name in entry.streams:
                    lost[name] = lost.get(name, 0) + sum(entry.entries.values())
        self.stream = _chosen(path, stream, streams)
        self.keypoints = streams[self.stream]
        self.frames = counts.get(self.stream, 0)
        self._lost = lost.get(self.stream, 0)
        self.description = f"{path}, stream {self.stream}"

    def remarks(self) -> list[str]:
        """Return that the log is not whole, or lacks something of the stream."""
        remarks = []
        if self._lost:
            remarks.append(
                f"The log lacks {self._lost} entries, of this stream among others, which could not be written then; "
                "what depends on them came out otherwise."
            )
        if self._log.torn:
            remarks.append("The last line of the log is not whole and was left out.")
        return remarks

    def __iter__(self) -> Iterator[Item]:
        """Yield what happened to the stream.

        Raises:
            DamagedLogError: a line is not what it should be.
        """
        opened = False
        for line in self._log.lines():
            entry = line.entry
            if getattr(entry, "stream", None) != self.stream:
                continue
            match entry:
                case StreamOpened():
                    if opened:
                        yield Reopened()
                    opened = True
                case PoseEntry():
                    yield self._pose(line, entry)
                case Armed():
                    yield Arming(entry.trigger, entry.armed)
                case Ended():
                    yield Pause(entry.reason, entry.time_ns - self._began_ns)

    def _open(self, streams: dict[str, tuple[str, ...]], entry: StreamOpened) -> None:
        before = streams.setdefault(entry.stream, entry.keypoints)
        if before != entry.keypoints:
            raise InvalidInputError(
                f"{self._log.path}: the stream {entry.stream} goes on with other keypoints, those of the model "
                f"{entry.model}, so it can't be rehearsed as one; rehearse a video of it"
            )

    def _pose(self, line: Line, entry: PoseEntry) -> RecordedPose:
        try:
            keypoints = entry.points(len(self.keypoints))
        except ValueError as error:
            raise DamagedLogError(f"{self._log.path}:{line.number}: the keypoints can't be read: {error}") from None
        captured_ns, decided_ns = entry.captured_ns - self._began_ns, entry.decided_ns - self._began_ns
        inferred_ns: int | None = entry.inference_ended_ns - self._began_ns
        if self._latency_ns is not None:
            decided_ns, inferred_ns = captured_ns + self._latency_ns, None
        size = (entry.width, entry.height)
        return RecordedPose(
            entry.sequence, captured_ns, decided_ns, *size, keypoints, entry.values, entry.doubts, inferred_ns
        )


def _chosen(path: Path, stream: str | None, streams: dict[str, tuple[str, ...]]) -> str:
    if not streams:
        raise InvalidInputError(f"the log {path} holds no stream: none was opened in this experiment")
    if stream is None:
        if len(streams) > 1:
            raise InvalidInputError(f"the log {path} holds the streams {', '.join(streams)}; choose one with --stream")
        return next(iter(streams))
    if stream not in streams:
        raise InvalidInputError(f"the log {path} holds no stream {stream!r}; {nearest(stream, streams, 'streams')}")
    return stream
