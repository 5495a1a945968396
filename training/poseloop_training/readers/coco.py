"""COCO keypoints (``.json``), read by sleap-io.

COCO's integer coordinates mean the centres of pixels, the origin that is ours. sleap-io (0.9) leaves out images that
it does not find, or takes any file of the same name below the folder in their place; so each image that the file lists
is looked for here, and only labels that sleap-io read for that very image are taken.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from poseloop.errors import InvalidInputError

from poseloop_training.image_source import ImageFile
from poseloop_training.readers.base import LabelledImage, Labels


def read_coco(file: Path) -> Labels:
    """Read a COCO keypoints file; images are looked for beside it and in ``images/``, ``imgs/``, ``data/images/``.

    Raises:
        InvalidInputError: it is no such JSON, or has keypoints of several categories.
    """
    from sleap_io.io import coco

    content = _parsed(file)
    try:
        skeleton = coco.create_skeleton_from_category(_category(content, file))
        paths = [_place(file.parent, entry) for entry in content["images"]]
        frames = _frames(file, content)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(
            f"{file} can't be read as COCO keypoints ({error}); export the labels as COCO keypoints again."
        ) from None
    names = tuple(skeleton.node_names)
    animals = max((len(frame.instances) for found in frames.values() for frame in found), default=1) or 1
    images = []
    for path in paths:
        # An image that is listed twice is two rows; one that is missing has none, and is found missing later.
        found = frames.get(path)
        images.append(LabelledImage(ImageFile(path), _keypoints(found.pop(0) if found else None, animals, len(names))))
    edges = tuple((edge.source.name, edge.destination.name) for edge in skeleton.edges)
    return Labels(file.stem, names, edges, None, tuple(images))


def _parsed(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} is not valid JSON ({error}); export the labels again.") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(content, Mapping) or not all(isinstance(content.get(name), list) for name in lists):
        raise InvalidInputError(
            f"{file} is no COCO file: it lacks a list of {', '.join(lists)}; export the labels as COCO keypoints."
        )
    return content


def _category(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return the one category that has labels with keypoints."""
    labelled = {entry["category_id"] for entry in content["annotations"] if entry.get("keypoints")}
    categories = [entry for entry in content["categories"] if entry["id"] in labelled and entry.get("keypoints")]
    if len(categories) == 1:
        return dict(categories[0])
    if not categories:
        raise InvalidInputError(f"{file} has no label with keypoints; export the labels as COCO keypoints.")
    names = ", ".join(str(entry.get("name")) for entry in categories)
    raise InvalidInputError(f"{file} has keypoints of several categories ({names}); save one file a category.")


def _frames(file: Path, content: Mapping[str, Any]) -> dict[Path, list[Any]]:
    """Return sleap-io's frames by the image that they are of."""
    from sleap_io.io import coco

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", UserWarning)  # missing images: every image of the file is accounted for
        source = file
        if any("\\" in entry["file_name"] for entry in content["images"]):
            # sleap-io splits no Windows path on other systems.
            images = [{**entry, "file_name": _posix(entry["file_name"])} for entry in content["images"]]
            source = Path(folder) / file.name
            source.write_text(json.dumps({**content, "images": images}), encoding="utf-8")
        # Outlines of animals are not used; as polygons they take no memory of the size of the image.
        labels = coco.read_labels(source, dataset_root=file.parent, segmentation_format="roi")
    frames: dict[Path, list[Any]] = {}
    for frame in labels.labeled_frames:
        frames.setdefault(Path(frame.video.filename[frame.frame_idx]), []).append(frame)
    return frames


def _posix(name: str) -> str:
    return name.replace("\\", "/")


def _place(root: Path, entry: Mapping[str, Any]) -> Path:
    parts = PurePosixPath(_posix(entry["file_name"])).parts
    candidates = [root.joinpath(*parts)] + [root / sub / Path(*parts) for sub in ("images", "imgs", "data/images")]
    return next((path for path in candidates if path.exists()), candidates[0])


def _keypoints(frame: Any, animals: int, count: int) -> NDArray[np.float32]:
    keypoints = np.full((animals, count, 2), np.nan, dtype=np.float32)
    if frame is not None:
        for place, instance in enumerate(frame.instances):
            keypoints[place] = instance.numpy()
    return keypoints
