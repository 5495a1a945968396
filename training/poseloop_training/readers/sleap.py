"""SLEAP labels (``.slp`` and packages ``.pkg.slp``), read by sleap-io.

sleap-io brings coordinates of every version of the format to the origin at the centre of the top-left pixel, which is
ours. Only labels made or corrected by a person are taken: SLEAP keeps its own predictions in the same file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError, PoseloopError
from poseloop.hdf import open_given

from poseloop_training.image_source import EmbeddedFrame, ImageFile, ImageReference, VideoFrame
from poseloop_training.problems import Problem, Severity
from poseloop_training.readers.base import LabelledImage, Labels, Pair

MOST_BYTES: Final = 1 << 30
"""Of the tables of a file: 60 million points."""
_IMAGES: Final = re.compile(r"/video\d+/video")
_SAVE_AGAIN: Final = "save it again in SLEAP."


def read_slp(file: Path) -> Labels:
    """Read a ``.slp`` file.

    Raises:
        InvalidInputError: it is damaged, of an unknown version, or has no skeleton or several.
    """
    try:
        _require_room(file)
        return _read(file)
    except PoseloopError:
        raise
    except Exception as error:  # sleap-io takes a file at its word and meets damage in any of many ways
        detail = (str(error).strip().splitlines() or ["damaged"])[0]
        raise InvalidInputError(f"{file} can't be read as SLEAP labels ({detail}); {_SAVE_AGAIN}") from None


def _require_room(file: Path) -> None:
    """Refuse tables that only promise to be there, or lie in another file; images are read one by one."""
    import h5py

    def require(size: int) -> None:
        if size > MOST_BYTES:
            raise InvalidInputError(
                f"{file} is damaged: its tables would take more than {MOST_BYTES >> 30} GiB; {_SAVE_AGAIN}"
            )

    with open_given(file, _SAVE_AGAIN, require) as given:
        for table in given.objects:
            if not isinstance(table, h5py.Dataset) or _IMAGES.fullmatch(table.name):
                continue
            given.take_array(table)
            if table.dtype.hasobject:  # strings of variable length, which may all be the same long one
                for place in np.ndindex(table.shape):
                    given.take(len(table[place]))


def _read(file: Path) -> Labels:
    import sleap_io

    content = sleap_io.load_slp(str(file), open_videos=False)
    if len(content.skeletons) != 1:
        names = ", ".join(str(skeleton.name) for skeleton in content.skeletons) or "none"
        raise InvalidInputError(
            f"{file} has {len(content.skeletons)} skeletons ({names}), and one is needed: save one file a skeleton."
        )
    skeleton = content.skeletons[0]
    keypoint_names: tuple[str, ...] = tuple(skeleton.node_names)
    frames = [frame for frame in content.labeled_frames if frame.user_instances]
    tracks = list(content.tracks)
    slots = _Slots(tracks, max((len(frame.user_instances) for frame in frames), default=1))
    images = tuple(
        LabelledImage(
            _image(frame.video, frame.frame_idx, file), slots.keypoints(frame.user_instances, len(keypoint_names))
        )
        for frame in frames
    )
    return Labels(
        name=file.name.removesuffix(".slp").removesuffix(".pkg"),
        keypoint_names=keypoint_names,
        skeleton=tuple((edge.source.name, edge.destination.name) for edge in skeleton.edges),
        swap_pairs=_symmetries(skeleton),
        images=images,
        problems=_predictions_left_out(content, len(frames)),
    )


class _Slots:
    """Gives each track its place along the axis of animals, where a frame has several; a lone animal has place 0.

    A frame in which an instance has no track, or two have the same, is filled in its own order, so that none is lost.
    """

    def __init__(self, tracks: list[Any], animals: int) -> None:
        self._tracks = tracks
        self._animals = animals
        self._by_track = animals > 1 and len(tracks) == animals

    def keypoints(self, instances: list[Any], count: int) -> NDArray[np.float32]:
        keypoints = np.full((self._animals, count, 2), np.nan, dtype=np.float32)
        tracks = [instance.track for instance in instances]
        if self._by_track and None not in tracks and len({id(track) for track in tracks}) == len(tracks):
            places = [self._tracks.index(track) for track in tracks]
        else:
            places = list(range(len(instances)))
        for place, instance in zip(places, instances, strict=True):
            # numpy() gives NaN for points that are marked as not visible, SLEAP's way of saying "not labelled".
            keypoints[place] = instance.numpy()
        return keypoints


def _symmetries(skeleton: Any) -> tuple[Pair, ...] | None:
    symmetric = (sorted(pair.nodes, key=skeleton.index) for pair in skeleton.symmetries)
    pairs = tuple((a.name, b.name) for a, b in symmetric)
    return pairs or None


def _image(video: Any, index: int, file: Path) -> ImageReference:
    metadata = video.backend_metadata
    dataset = metadata.get("dataset")
    if isinstance(video.filename, list):
        return ImageFile(_found(Path(video.filename[index]), file))
    path = Path(video.filename)
    if dataset:
        return EmbeddedFrame(file if str(path) in (".", str(file)) else _found(path, file), dataset, index)
    return VideoFrame(_found(path, file), index)


def _found(path: Path, file: Path) -> Path:
    """Return where a video or image is: as the labels say, or beside them, since projects are moved around."""
    name = str(path).replace("\\", "/").rsplit("/", 1)[-1]
    candidates = (path, file.parent / path, file.parent / name, file.parent / "videos" / name)
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _predictions_left_out(content: Any, labelled: int) -> tuple[Problem, ...]:
    left_out = len(content.labeled_frames) - labelled
    if not left_out:
        return ()
    return (
        Problem(
            Severity.INFO,
            "predictions_left_out",
            f"{left_out} frames without any label by a person (empty, or SLEAP's own predictions) are left out: "
            "correct and save them in SLEAP if they should count.",
        ),
    )
